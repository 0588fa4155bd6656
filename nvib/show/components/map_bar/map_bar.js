// Acts on the maps where they stand, with no run of the page: which one a narrow screen shows, the part that all of
// them show, and what stands at a cell in each. Names and tokens are data: they reach the page as textContent.
const view = { shown: null, factor: 1, x: 0, y: 0, text: '' };
const pointer = { x: 0, y: 0 };
const NARROW = 559, MOST = 64;

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector('.bar');
  const keys = data.maps.map(([key]) => key);
  const chart = (key) => document.querySelector(`.st-key-${key} .js-plotly-plot`);
  const charts = () => keys.map(chart).filter((found) => found && found._fullLayout);
  const sheet = owned('style', 'nvib-map-sheet', document.head);
  const tip = owned('div', 'nvib-map-tip', document.body);
  Object.assign(tip.style, {
    position: 'fixed', zIndex: 1000, pointerEvents: 'none', display: 'none', whiteSpace: 'pre', padding: '.3rem .5rem',
    borderRadius: '.25rem', font: '13px "Source Code Pro", monospace', maxWidth: '90vw',
  });

  // Layer and head.
  root.querySelector('.steps').replaceChildren(...data.steps.map(([field, shown, before, behind]) => {
    const group = document.createElement('div');
    group.className = 'group';
    group.setAttribute('role', 'group');
    group.setAttribute('aria-label', field);
    const name = document.createElement('span');
    name.className = 'shown';
    name.textContent = shown;
    group.append(step(field, -1, '‹', 'Previous', before), name, step(field, 1, '›', 'Next', behind));
    return group;
  }));

  function step(field, by, sign, word, there) {
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = sign;
    button.setAttribute('aria-label', `${word} ${field}`);
    button.disabled = !there;
    button.onclick = () => setTriggerValue('stepped', { field, by });
    return button;
  }

  // Which map a narrow screen shows; the others keep their size out of sight, so that they can be saved.
  const switches = data.maps.map(([key, title]) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = title;
    button.onclick = () => show(key);
    return button;
  });
  root.querySelector('.switch').replaceChildren(...switches);

  function show(key) {
    view.shown = key;
    switches.forEach((button, n) => button.setAttribute('aria-pressed', String(keys[n] === key)));
    const others = keys.filter((other) => other !== key).map((other) => `div:has(> .st-key-card-${other})`).join(', ');
    sheet.textContent = `@container maps (max-width: ${NARROW}px) {
      ${others} { position: absolute; visibility: hidden; width: 100%; height: 0; overflow: hidden; } }
      ${keys.map((each) => `.st-key-${each} .hoverlayer`).join(', ')} { display: none; }`;
  }

  // The part of the maps that is shown: the same in all three.
  const text = JSON.stringify([data.rows, data.columns]);
  if (text !== view.text) Object.assign(view, { factor: 1, x: 0, y: 0, text });

  function whole(found) {
    const { columns, rows } = found.layout.meta.square, end = data.columns.length - 0.5;
    return { x: [end - columns, end], y: [rows - 0.5, -0.5] };
  }

  function part(found) {
    const all = whole(found), cut = ([from, to], middle) => {
      const [low, high] = [Math.min(from, to), Math.max(from, to)], half = (high - low) / 2 / view.factor;
      const at = Math.min(high - half, Math.max(low + half, middle));
      return from < to ? [at - half, at + half] : [at + half, at - half];
    };
    return { x: cut(all.x, view.x), y: cut(all.y, view.y) };
  }

  function apply() {
    for (const found of charts()) {
      const { x, y } = part(found), now = found.layout, zoomed = view.factor > 1;
      if (near(now.xaxis.range, x) && near(now.yaxis.range, y) && now.dragmode === (zoomed && 'pan')) continue;
      const all = whole(found), sorted = [...all.y].sort((a, b) => a - b);
      window.Plotly.relayout(found, {
        'xaxis.range': x, 'yaxis.range': y, 'xaxis.fixedrange': !zoomed, 'yaxis.fixedrange': !zoomed,
        'xaxis.minallowed': all.x[0], 'xaxis.maxallowed': all.x[1], 'yaxis.minallowed': sorted[0],
        'yaxis.maxallowed': sorted[1], dragmode: zoomed && 'pan',
      });
    }
    root.querySelector('[data-zoom="0.5"]').disabled = view.factor === 1;
    root.querySelector('[data-zoom="0"]').disabled = view.factor === 1;
  }

  for (const button of root.querySelectorAll('[data-zoom]')) {
    button.onclick = () => {
      const by = Number(button.dataset.zoom), [first] = charts();
      if (!first) return;
      if (view.factor === 1) start(first);
      view.factor = by ? Math.min(MOST, Math.max(1, view.factor * by)) : 1;
      apply();
    };
  }

  // The first zoom is on the cell that is explained, where it is in the map.
  function start(first) {
    const cell = charts().flatMap((found) => found.layout.shapes || [])[0], all = whole(first);
    [view.x, view.y] = cell
      ? [(cell.x0 + cell.x1) / 2, (cell.y0 + cell.y1) / 2]
      : [(all.x[0] + all.x[1]) / 2, (all.y[0] + all.y[1]) / 2];
  }

  // What stands at a cell in all three maps.
  function tell(found, { x, y }) {
    const row = Math.round(y), column = x < 0 ? -1 : Math.round(x);
    const [before, after] = keys.map((key) => at(chart(key), row, column));
    const lines = [`${data.rows[row]} → ${column < 0 ? 'prior' : data.columns[column]}`];
    const values = [column < 0 ? 0 : before, after], names = data.maps.map(([, title]) => title);
    [...values, values[1] - values[0]].forEach((value, n) => {
      lines.push(`${names[n].padEnd(14)}${n < 2 ? ' ' : value < 0 ? '−' : '+'}${Math.abs(value).toFixed(4)}`);
    });
    tip.textContent = lines.join('\n');
    const style = getComputedStyle(root);
    tip.style.color = style.getPropertyValue('--st-text-color');
    tip.style.background = style.getPropertyValue('--st-background-color');
    tip.style.border = `1px solid ${style.getPropertyValue('--st-border-color')}`;
    tip.style.display = 'block';
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(pointer.x + 14, innerWidth - width - 4))}px`;
    tip.style.top = `${pointer.y + 18 + height > innerHeight ? pointer.y - height - 10 : pointer.y + 18}px`;
  }

  function at(found, row, column) {
    const traces = found ? found._fullData : [];
    const trace = column < 0 ? traces[1] : traces[0];
    return trace ? trace.z[row][Math.max(0, column)] : 0;
  }

  const hide = () => { tip.style.display = 'none'; };
  const mine = (event) => charts().includes(event.target);
  const hovered = (event) => mine(event) && tell(event.target, event.detail);
  const moved = (event) => Object.assign(pointer, { x: event.clientX, y: event.clientY });

  // A head that is clicked in the overview brings its maps in sight.
  const clicked = (event) => {
    if (event.target !== chart(data.overview)) return;
    const maps = document.querySelector('.st-key-where-maps'), place = maps.getBoundingClientRect();
    const first = maps.querySelector('.js-plotly-plot').getBoundingClientRect();
    if (place.top >= 0 && first.top + 0.6 * Math.min(first.height, innerHeight) < innerHeight) return;
    const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
    maps.scrollIntoView({ behavior: still ? 'auto' : 'smooth', block: 'start' });
  };

  // New figures come with every run: they get the part that is shown; one that is dragged moves the others along.
  const following = new WeakSet();
  const follow = () => {
    for (const found of charts()) {
      if (following.has(found)) continue;
      following.add(found);
      found.on('plotly_relayout', (change) => {
        if (!('xaxis.range[0]' in change) || view.factor === 1) return;
        const { xaxis, yaxis } = found._fullLayout, middle = ([a, b]) => (a + b) / 2;
        [view.x, view.y] = [middle(xaxis.range), middle(yaxis.range)];
        apply();
      });
    }
    if (view.factor > 1) apply();
  };
  const drawn = new MutationObserver(follow);
  drawn.observe(document.querySelector('.st-key-where-maps') || document.body, { subtree: true, childList: true });

  show(keys.includes(view.shown) ? view.shown : keys[1]);
  follow();
  apply();
  const events = { 'nvib-hover': hovered, 'nvib-unhover': hide, 'nvib-click': clicked, pointermove: moved, pointerdown: moved };
  for (const [name, react] of Object.entries(events)) document.addEventListener(name, react, { capture: true });
  return () => {
    hide();
    drawn.disconnect();
    for (const [name, react] of Object.entries(events)) document.removeEventListener(name, react, { capture: true });
  };
}

function owned(tag, id, parent) {
  const found = document.getElementById(id) || document.createElement(tag);
  found.id = id;
  parent.append(found);
  return found;
}

function near(one, other) {
  return one && one.every((value, n) => Math.abs(value - other[n]) < 1e-6);
}
