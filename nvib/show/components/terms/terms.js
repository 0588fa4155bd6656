// Terms in the page's own text, underlined with dots and explained on hover and tap. The text is React's and is left
// alone: ranges of it are painted by the browser's highlights. What is a button or a link already does its own on a tap.
const BLOCKS = '[data-testid="stMarkdownContainer"], [data-testid="stCaptionContainer"], [data-testid="stHeading"]';
const NOT_IN = 'a, .stButton, .stFormSubmitButton, .stDownloadButton, pre, code, .katex, svg';
const ACTS = 'a, button, summary, input, textarea, [role="radio"], [data-testid="stCheckbox"]';
const NAME = 'nvib-term';
const LINGER = 150;  // milliseconds that the pointer rests on a term before it is explained

export default function ({ data, parentElement }) {
  const said = parentElement.querySelector('.said');
  if (!globalThis.CSS || !CSS.highlights || !said.showPopover) return undefined;
  const words = new Map(Object.entries(data.forms).map(([form, text]) => [form.toLowerCase(), text]));
  const spelled = [...words.keys()].sort((a, b) => b.length - a.length)
    .map((form) => form.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  const pattern = new RegExp(`(?<![\\p{L}\\p{N}])(?:${spelled.join('|')})(?![\\p{L}\\p{N}])`, 'giu');
  let found = [];  // {range, text} of every term on the page
  let shown = null;
  let waiting, resting;

  const style = document.createElement('style');
  style.textContent = `::highlight(${NAME}) { text-decoration: underline dotted 1px rgb(128 128 128 / .9); text-underline-offset: 3px; }`;
  document.head.append(style);

  function scan() {
    waiting = undefined;
    found = [];
    const seen = new Map();  // the terms of each paragraph, explained once in it
    for (const block of document.querySelectorAll(BLOCKS)) {
      if (block.parentElement.closest(BLOCKS)) continue;  // it is part of another, which is read whole
      const walker = document.createTreeWalker(block, NodeFilter.SHOW_TEXT);
      for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        if (node.parentElement.closest(NOT_IN)) continue;
        const paragraph = node.parentElement.closest('p, li, td, th, h1, h2, h3, h4') || block;
        if (!seen.has(paragraph)) seen.set(paragraph, new Set());
        for (const match of node.data.matchAll(pattern)) {
          const text = words.get(match[0].toLowerCase());
          if (!text || seen.get(paragraph).has(text)) continue;
          seen.get(paragraph).add(text);
          const range = new Range();
          range.setStart(node, match.index);
          range.setEnd(node, match.index + match[0].length);
          found.push({ range, text });
        }
      }
    }
    CSS.highlights.set(NAME, new Highlight(...found.map((term) => term.range)));
    if (shown && !shown.range.startContainer.isConnected) hide();
  }

  const inside = (box, x, y) => x >= box.left && x <= box.right && y >= box.top && y <= box.bottom;
  const at = ({ clientX: x, clientY: y, target }) => {
    const block = target.closest && target.closest(BLOCKS);
    return block && found.find(({ range }) => block.contains(range.startContainer)
      && [...range.getClientRects()].some((box) => inside(box, x, y)));
  };

  function show(term) {
    shown = term;
    said.textContent = term.text;
    if (!said.matches(':popover-open')) said.showPopover();
    const box = term.range.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = said;
    const below = box.bottom + 6 + height < innerHeight || box.top < height + 6;
    said.style.left = `${Math.max(8, Math.min(box.left, innerWidth - width - 8))}px`;
    said.style.top = `${below ? box.bottom + 6 : box.top - height - 6}px`;
  }
  function hide() {
    clearTimeout(resting);
    shown = null;
    if (said.matches(':popover-open')) said.hidePopover();
  }

  const moved = (event) => {
    if (event.pointerType === 'touch') return;
    const term = at(event);
    if (term === shown) return;
    hide();
    if (term) resting = setTimeout(() => show(term), LINGER);
  };
  const tapped = (event) => {
    const term = !(event.target.closest && event.target.closest(ACTS)) && at(event);
    if (term) show(term);
    else hide();
  };
  const pressed = (event) => { if (event.key === 'Escape') hide(); };
  const events = { pointermove: moved, click: tapped, keydown: pressed, scroll: hide };
  for (const [name, react] of Object.entries(events)) document.addEventListener(name, react, { capture: true, passive: true });

  const watch = new MutationObserver(() => { waiting ??= setTimeout(scan, 250); });
  watch.observe(document.body, { subtree: true, childList: true, characterData: true });
  scan();
  return () => {
    hide();
    clearTimeout(waiting);
    watch.disconnect();
    CSS.highlights.delete(NAME);
    style.remove();
    for (const [name, react] of Object.entries(events)) document.removeEventListener(name, react, { capture: true });
  };
}
