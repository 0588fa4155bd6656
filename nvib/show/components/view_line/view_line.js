// The view in one line. Pressing a part opens the sidebar where it is shut and the fold that its control stands in, and
// brings the control into sight and focus. Words are data: they reach the page as textContent.
const OPENER = '[data-testid="stExpandSidebarButton"][aria-expanded="false"]';  // there while the sidebar is shut
const TAKES_FOCUS = '[role="slider"], input:not([type="hidden"]), textarea, select, button, [tabindex="0"]';
const PATIENCE = 5000;  // milliseconds in which a drawer, a fold and its controls come
const LOOK = 50;

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector('.view');
  let looking;
  const buttons = data.parts.map((part) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = part.words;
    button.title = 'Go to its control';
    button.onclick = () => go(part);
    return button;
  });
  // What is equal stays, so that the focus does.
  if ([...root.children].map((b) => b.textContent).join('\n') === buttons.map((b) => b.textContent).join('\n')) {
    buttons.forEach((button, n) => { root.children[n].onclick = button.onclick; });
  } else root.replaceChildren(...buttons);

  function go(part) {
    clearTimeout(looking);
    document.querySelector(OPENER)?.click();
    const start = performance.now();
    let opened = false;
    const look = () => {
      const control = document.querySelector(`.st-key-${part.control}`);
      const within = control && control.getBoundingClientRect();
      if (within && within.height > 0 && within.right > 0 && within.left >= 0) {
        arrive(control);
        return;
      }
      const fold = part.fold && document.querySelector(`.st-key-${part.fold} details`);
      if (fold && !fold.open && !opened) {
        opened = true;
        fold.querySelector('summary').click();
      }
      if (performance.now() - start < PATIENCE) looking = setTimeout(look, LOOK);
    };
    look();
  }

  function arrive(control) {
    control.scrollIntoView({ block: 'center' });
    const focus = control.querySelector(TAKES_FOCUS);
    if (focus) focus.focus({ preventScroll: true, focusVisible: true });
  }

  return () => clearTimeout(looking);
}
