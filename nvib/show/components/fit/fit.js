// Labels of an axis are thinned to what its pixels bear: a figure brings all names of its axes in layout.meta, and
// whenever it was drawn anew, at another width or for another range, the ticks are every k-th of them. New numbers are
// drawn once, at the size of their place and with the ticks that it bears. And a page whose colours were made for
// another theme is asked for again, once its script has ended.
const PRIOR = '<b>prior</b>';
const TOUCHED = ['plotly_relayout', 'plotly_restyle', 'plotly_selected', 'plotly_deselect'];  // not as it was given
const fitted = new WeakSet();
const given = new WeakMap();  // what a figure was last drawn from, as it came and with the positions that plotly chose
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
  if (window.Plotly && !window.Plotly.react.once) window.Plotly.react = once(window.Plotly.react);
  for (const chart of document.querySelectorAll('.js-plotly-plot')) {
    if (fitted.has(chart) || !chart.on || !chart._fullLayout) continue;
    fitted.add(chart);
    chart.on('plotly_afterplot', () => fit(chart));
    for (const event of TOUCHED) chart.on(event, () => given.delete(chart));
    fit(chart);
  }
}

// Streamlit draws new numbers at a size of its own, hidden, and then again at that of their place. They are drawn at
// that size at once, and what a figure shows already is not drawn again. The layout is changed and not copied, for
// Streamlit takes another to be news and draws once more.
function once(react) {
  const drawn = (chart, figure, ...rest) => {
    const layout = figure && figure.layout, place = chart.parentElement;
    if (!layout || !layout.meta || !place) return react(chart, figure, ...rest);
    if (!layout.width) {
      const { width, height } = place.getBoundingClientRect();
      if (width && height) Object.assign(layout, { width, height });
    }
    const names = tickless(layout);
    for (const axis in names) Object.assign(layout[axis], names[axis]);
    const wanted = said(figure);
    if ((given.get(chart) || []).includes(wanted)) return Promise.resolve(chart);
    const made = react(chart, figure, ...rest);
    given.set(chart, [wanted, said(figure)]);
    return made;
  };
  drawn.once = true;
  return drawn;
}

// All that a figure is drawn from, without what plotly notes in it.
function said({ data, layout, config }) {
  return JSON.stringify([data, layout, config], (name, value) => (name[0] === '_' ? undefined : value));
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
  if (!chart.layout || !chart._fullLayout || !window.Plotly) return;
  const change = {};
  for (const [axis, names] of Object.entries(tickless(chart.layout, chart._fullLayout))) {
    for (const name in names) change[`${axis}.${name}`] = names[name];
  }
  if (Object.keys(change).length) window.Plotly.relayout(chart, change);
}

// The ticks that the pixels of a layout's axes bear, where it has others, by axis; full: as it was drawn, where it was.
function tickless(layout, full) {
  const found = {};
  for (const [axis, size, ends] of [['xaxis', 'width', 'lr'], ['yaxis', 'height', 'tb']]) {
    const named = layout.meta && layout.meta[axis[0]], drawn = full && full[axis];
    if (!named || !layout[axis]) continue;
    const margin = layout.margin || {}, range = drawn ? drawn.range : layout[axis].range;
    const length = drawn ? drawn._length : layout[size] - margin[ends[0]] - margin[ends[1]];
    const wanted = range && ticks(named, range, length);
    if (wanted && String(wanted.tickvals) !== String(layout[axis].tickvals)) found[axis] = wanted;
  }
  return found;
}

// Every k-th name of those in sight, and the prior before them, with room enough between two.
function ticks({ names, prior, apart }, range, length) {
  const [low, high] = [...range].sort((a, b) => a - b), pixels = length / (high - low);
  if (!(pixels > 0)) return null;
  const step = Math.max(1, Math.ceil(apart / pixels)), tickvals = [], ticktext = [];
  let from = Math.max(0, Math.ceil(low));
  if (prior !== null && prior !== undefined && prior >= low) {
    tickvals.push(prior);
    ticktext.push(PRIOR);
    from = Math.max(from, Math.ceil(prior + apart / pixels));
  }
  for (let n = Math.ceil(from / step) * step; n <= Math.min(high, names.length - 1); n += step) {
    tickvals.push(n);
    ticktext.push(names[n]);
  }
  return { tickvals, ticktext };
}
