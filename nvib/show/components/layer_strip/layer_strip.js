// One bar a layer: drawn with the pointer, or a stop up and down by the arrows of the keyboard. What was drawn is sent
// once the pointer is lifted, or once no key was pressed for a moment.
const PAUSE = 500; // milliseconds
const chosen = new WeakMap(); // of each strip the bar that was last under pointer or focus

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector('.strip');
  const box = root.querySelector('.bars'), output = root.querySelector('output'), copy = root.querySelector('button');
  const active = root.getRootNode().activeElement;
  const focused = [...box.children].indexOf(active);
  const last = data.stops.length - 1;
  const places = [...data.places], drawn = data.places.map(() => null);
  let timer = null, pressed = false, before = null;

  root.querySelector('.label').textContent = data.label;
  box.setAttribute('aria-label', data.label);
  const bars = data.names.map((name, n) => {
    const bar = document.createElement('div');
    bar.className = 'bar';
    bar.setAttribute('role', 'slider');
    bar.setAttribute('aria-label', name);
    bar.setAttribute('aria-orientation', 'vertical');
    bar.setAttribute('aria-valuemin', '0');
    bar.setAttribute('aria-valuemax', String(last));
    bar.append(document.createElement('i'));
    bar.onfocus = () => choose(n);
    bar.onkeydown = (event) => key(event, n);
    return bar;
  });
  box.replaceChildren(...bars);
  bars.forEach((_, n) => show(n));
  choose(Math.min(chosen.get(root) ?? 0, bars.length - 1));
  if (focused >= 0) bars[Math.min(focused, bars.length - 1)]?.focus({ preventScroll: true });

  function said(n) {
    return drawn[n] === null ? data.values[n] : data.stops[drawn[n]];
  }

  function show(n) {
    bars[n].firstChild.style.height = `${(100 * places[n]) / last}%`;
    bars[n].setAttribute('aria-valuenow', String(Math.round(places[n])));
    bars[n].setAttribute('aria-valuetext', said(n));
  }

  function choose(n) {
    chosen.set(root, n);
    bars.forEach((bar, at) => {
      bar.classList.toggle('chosen', at === n);
      bar.tabIndex = at === n ? 0 : -1;
    });
    output.textContent = `${data.names[n]}: ${said(n)}`;
  }

  function put(n, stop) {
    drawn[n] = Math.max(0, Math.min(last, stop));
    places[n] = drawn[n];
    show(n);
    choose(n);
  }

  function send() {
    clearTimeout(timer);
    timer = null;
    if (drawn.some((stop) => stop !== null)) setTriggerValue('drawn', { places: drawn });
  }

  function key(event, n) {
    const up = { ArrowUp: 1, ArrowDown: -1, PageUp: 5, PageDown: -5 }[event.key];
    const end = { Home: 0, End: last }[event.key];
    const beside = { ArrowLeft: n - 1, ArrowRight: n + 1 }[event.key];
    if (up === undefined && end === undefined && beside === undefined) return;
    event.preventDefault();
    if (beside !== undefined) {
      bars[beside]?.focus();
      return;
    }
    put(n, end ?? (up > 0 ? Math.floor(places[n]) + up : Math.ceil(places[n]) + up));
    clearTimeout(timer);
    timer = setTimeout(send, PAUSE);
  }

  // From one bar to another a line is drawn, as a fast pointer leaves some out.
  function draw(event) {
    const { left, top, width, height } = box.getBoundingClientRect();
    const n = Math.max(0, Math.min(bars.length - 1, Math.floor(((event.clientX - left) / width) * bars.length)));
    const stop = Math.round((1 - (event.clientY - top) / height) * last);
    const from = before ?? { n, stop };
    for (let at = from.n; at !== n; ) {
      at += Math.sign(n - at);
      put(at, Math.round(from.stop + ((stop - from.stop) * (at - from.n)) / (n - from.n)));
    }
    put(n, stop);
    before = { n, stop };
  }

  box.onpointerdown = (event) => {
    box.setPointerCapture(event.pointerId);
    [pressed, before] = [true, null];
    draw(event);
  };
  box.onpointermove = (event) => pressed && draw(event);
  box.onpointerup = () => {
    if (pressed) send();
    pressed = false;
  };
  box.onpointercancel = box.onpointerup;
  copy.onclick = () => setTriggerValue('drawn', { places: drawn, all: chosen.get(root) });
  return () => clearTimeout(timer);
}
