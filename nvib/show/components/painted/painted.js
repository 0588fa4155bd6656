export default function ({ data, setTriggerValue }) {
  const start = performance.now();
  const there = (found) => found && (!(found instanceof HTMLImageElement) || found.complete);
  const look = () => {
    if (there(document.querySelector(data.selector)) || performance.now() - start > data.patience) {
      requestAnimationFrame(() => setTimeout(() => setTriggerValue('painted', true)));
    } else waiting = setTimeout(look, 30);
  };
  let waiting = setTimeout(look, 30);
  return () => clearTimeout(waiting);
}
