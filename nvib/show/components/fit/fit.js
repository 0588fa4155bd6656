// Labels of an axis are thinned to what its pixels bear: a figure brings all names of its axes in layout.meta, and
// whenever it was drawn anew, at another width or for another range, the ticks are every k-th of them. And a page whose
// colours were made for another theme is asked for again, once its script has ended.
const PRIOR = '<b>prior</b>';
const fitted = new WeakSet();
let now = null;  // what the page was last drawn with; an earlier mount may still be there, and must not speak for it
let known = '';  // the theme that the page was last drawn in or asked for: each is asked for once

export default function ({ data, setTriggerValue }) {
  now = { theme: data.theme, ask: (shown) => setTriggerValue('theme', shown) };
  const app = document.querySelector('[data-testid="stApp"]');
  const soon = () => requestAnimationFrame(() => look(app));
  const mend = () => { thin(); boxes(); };
  const drawn = new MutationObserver(mend), changed = new MutationObserver(soon);
  drawn.observe(document.body, { subtree: true, childList: true });
  if (app) changed.observe(app, { attributes: true });
  const scheme = matchMedia('(prefers-color-scheme: dark)');
  scheme.addEventListener('change', soon);
  addEventListener('resize', boxes);
  mend();
  soon();
  return () => {
    drawn.disconnect();
    changed.disconnect();
    scheme.removeEventListener('change', soon);
    removeEventListener('resize', boxes);
  };
}

// A table that is wider than the page scrolls in a box of its own, which the keyboard must reach too.
function boxes() {
  for (const table of document.querySelectorAll('[data-testid="stMarkdownContainer"] > table')) {
    const box = table.parentElement;
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute('tabindex');
  }
}

function thin() {
  for (const chart of document.querySelectorAll('.js-plotly-plot')) {
    if (fitted.has(chart) || !chart.on || !chart._fullLayout) continue;
    fitted.add(chart);
    chart.on('plotly_afterplot', () => fit(chart));
    fit(chart);
  }
}

function look(app) {
  if (!app || app.dataset.testScriptState === 'running') return;
  const [red, green, blue] = getComputedStyle(app).backgroundColor.match(/\d+/g).map(Number);
  const shown = red + green + blue < 384 ? 'dark' : 'light';
  if (shown === known) return;
  known = shown;
  if (shown !== now.theme) now.ask(shown);
}

function fit(chart) {
  const meta = chart.layout && chart.layout.meta, full = chart._fullLayout, change = {};
  if (!meta || !full || !window.Plotly) return;
  for (const axis of ['x', 'y']) {
    if (!meta[axis] || !full[`${axis}axis`]) continue;
    const wanted = ticks(meta[axis], full[`${axis}axis`]);
    if (!wanted || String(wanted.at) === String(chart.layout[`${axis}axis`].tickvals)) continue;
    change[`${axis}axis.tickvals`] = wanted.at;
    change[`${axis}axis.ticktext`] = wanted.text;
  }
  if (Object.keys(change).length) window.Plotly.relayout(chart, change);
}

// Every k-th name of those in sight, and the prior before them, with room enough between two.
function ticks({ names, prior, apart }, axis) {
  const pixels = Math.abs(axis.c2p(1) - axis.c2p(0)), [low, high] = [...axis.range].sort((a, b) => a - b);
  if (!(pixels > 0)) return null;
  const step = Math.max(1, Math.ceil(apart / pixels)), at = [], text = [];
  let from = Math.max(0, Math.ceil(low));
  if (prior !== null && prior !== undefined && prior >= low) {
    at.push(prior);
    text.push(PRIOR);
    from = Math.max(from, Math.ceil(prior + apart / pixels));
  }
  for (let n = Math.ceil(from / step) * step; n <= Math.min(high, names.length - 1); n += step) {
    at.push(n);
    text.push(names[n]);
  }
  return { at, text };
}
