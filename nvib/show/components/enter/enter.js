// Streamlit's text boxes run on Ctrl+Enter alone: a plain Enter becomes one. Composing (Chinese, Japanese, Korean) ends
// with an Enter of its own, and a touch screen's keyboard has no Shift+Enter: there it stays a line break.
export default function () {
  const pressed = (event) => {
    const box = event.target;
    const plain = event.key === 'Enter' && !event.shiftKey && !event.ctrlKey && !event.metaKey && !event.altKey;
    if (!plain || event.isComposing || event.keyCode === 229 || !(box instanceof HTMLTextAreaElement)) return;
    if (!box.closest('[data-testid="stTextArea"]') || matchMedia('(pointer: coarse)').matches) return;
    event.preventDefault();
    event.stopPropagation();
    const how = { key: 'Enter', code: 'Enter', keyCode: 13, ctrlKey: true, bubbles: true, cancelable: true };
    box.dispatchEvent(new KeyboardEvent('keydown', how));
  };
  document.addEventListener('keydown', pressed, true);
  return () => document.removeEventListener('keydown', pressed, true);
}
