// Once for a visit, whichever page it begins on: see `install`.
const PAUSE = 1000;  // milliseconds without a hand on the page: what it shows then is a view to go back to
const NARROW = 768;  // pixels up to which Streamlit lays the sidebar over the page
const MENU = '.st-key-menu';
const LINKS = 'a[data-testid="stPageLink-NavLink"]';
const SPOKEN = { 'α': 'alpha', 'σ': 'sigma', 'τ': 'tau', 'μ': 'mu', '²': 'squared', 'ₚ': 'p' };

export default function () {
  if (!window.nvibBrowsing) install();
}

function install() {
  const state = window.nvibBrowsing = { pause: PAUSE, last: -Infinity, burst: 0, written: 0, pressed: '' };
  entries(state);
  addEventListener('click', (event) => clicked(event, state), true);
  for (const kind of ['pointerdown', 'keydown']) addEventListener(kind, () => { state.pressed = ''; }, true);
  new MutationObserver(() => {
    mend();
    refocus(state);
  }).observe(document, {
    subtree: true, childList: true, attributes: true, attributeFilter: ['href', 'aria-label'],
  });
  mend();
}

// Streamlit makes an entry of the history of each address that it writes, so of each stop of a slider. Here one is
// made for all that happens without a pause, and none for what a page writes by itself, as for a short link in full.
function entries(state) {
  const touched = (event) => {
    if (event.timeStamp - state.last > state.pause) state.burst += 1;
    state.last = event.timeStamp;
  };
  for (const kind of ['pointerdown', 'pointerup', 'keydown', 'input']) addEventListener(kind, touched, true);
  addEventListener('popstate', () => { state.burst += 1; }, true);  // what was gone back to is not written over
  merge();
  const push = history.pushState.bind(history);
  history.pushState = (data, unused, url) => {
    const elsewhere = new URL(url, location.href).pathname !== location.pathname;
    if (elsewhere || state.written !== state.burst) push(data, unused, url);
    else history.replaceState(data, unused, url);
    state.written = state.burst;
  };
}

// The page has written its address in full before this was there to see: that is no entry beside the one it began with.
function merge() {
  const [begun] = performance.getEntriesByType('navigation');
  const written = begun && begun.name !== location.href && new URL(begun.name).pathname === location.pathname;
  if (!written || navigator.userActivation?.hasBeenActive) return;
  const [data, address] = [history.state, location.href];
  addEventListener('popstate', (event) => {
    event.stopImmediatePropagation();
    history.replaceState(data, '', address);
  }, { capture: true, once: true });
  history.back();
}

function mend() {
  // To the first page Streamlit links by "?query" alone, which is the page one is on.
  for (const link of document.querySelectorAll(`${LINKS}:is([href=""], [href^="?"])`)) {
    link.setAttribute('href', `./${link.getAttribute('href')}`);
  }
  for (const link of document.querySelectorAll(`${MENU} ${LINKS}`)) {
    const current = String(link.pathname === location.pathname && 'page');
    if (link.getAttribute('aria-current') !== current) link.setAttribute('aria-current', current);
  }
  // A control is named by its label as it was written, Markdown and Greek: "Variance *τσ* · encoder".
  for (const named of document.querySelectorAll('[aria-label*="*"]')) {
    named.setAttribute('aria-label', spoken(named.getAttribute('aria-label')));
  }
}

function spoken(label) {
  const said = (symbol) => [...symbol].map((letter) => SPOKEN[letter] || letter).join(' ');
  return label.replace(/\s*\*+([^*]+)\*+/g, (_, symbol) => `, ${said(symbol)}`).replace(/ · /g, ', ').replace(/\*/g, '');
}

function clicked(event, state) {
  const link = event.target.closest && event.target.closest(LINKS);
  if (!link) return;
  // Streamlit follows a click with a key held in this very page.
  if (event.ctrlKey || event.metaKey || event.shiftKey) return event.stopPropagation();
  if (!link.closest(MENU)) return;
  state.pressed = link.textContent;
  if (innerWidth <= NARROW) {
    setTimeout(() => document.querySelector('[data-testid="stSidebarCollapseButton"] button')?.click());
  }
}

// A page draws the menu anew: the focus goes on from the link that was pressed.
function refocus(state) {
  if (!state.pressed || document.activeElement !== document.body) return;
  const same = [...document.querySelectorAll(`${MENU} ${LINKS}`)].find((link) => link.textContent === state.pressed);
  same?.focus({ preventScroll: true });
}
