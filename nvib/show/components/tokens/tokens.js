// The text as buttons, linked with the maps: pointing at a token frames its row and column in every map, pointing at
// a cell marks its tokens here, and pressing a token or clicking a cell picks it. The overview's squares are clicked
// here too, for Streamlit reports no click on a heatmap. Tokens are data: they reach the page as textContent.
const attached = new WeakSet();

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector('.strips');
  const focused = [...root.querySelectorAll('button')].indexOf(root.getRootNode().activeElement);
  const strips = data.strips.map((strip) => draw(strip));
  root.replaceChildren(...strips.map((strip) => strip.element));

  const found = (key) => [...document.querySelectorAll(`.st-key-${key} .js-plotly-plot`)];
  const charts = () => data.maps.flatMap(found);

  function draw(strip) {
    const element = document.createElement('p');
    element.setAttribute('role', 'group');
    element.setAttribute('aria-label', strip.name);
    const name = document.createElement('span');
    name.className = 'name';
    name.textContent = strip.name;
    element.append(name);
    const buttons = strip.tokens.map((token, n) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.textContent = token;
      button.title = `${n}: ${strip.words[n]}`;
      button.style.background = strip.colours[n];
      button.style.color = strip.inks[n];
      button.classList.toggle('query', strip.query && n === data.query);
      button.classList.toggle('key', strip.key && n === data.key);
      button.setAttribute('aria-pressed', String((strip.query && n === data.query) || (strip.key && n === data.key)));
      const point = () => frame(strip.query ? n : null, strip.key ? n : null);
      button.onmouseenter = point;
      button.onfocus = point;
      button.onmouseleave = clear;
      button.onblur = clear;
      button.onclick = (event) => {
        const asKey = strip.key && (event.shiftKey || !strip.query);
        setTriggerValue('picked', { axis: asKey ? 'key' : 'query', at: n });
      };
      element.append(button);
      return button;
    });
    return { ...strip, element, buttons };
  }

  function frame(row, column) {
    clear();
    for (const chart of charts()) {
      const layout = chart._fullLayout;
      if (!layout || !layout.xaxis || !layout.yaxis) continue;
      const [x, y] = [layout.xaxis, layout.yaxis];
      const left = x._offset, top = y._offset, width = x._length, height = y._length;
      if (row !== null) box(chart, left, top + y.c2p(row - 0.5), width, y.c2p(row + 0.5) - y.c2p(row - 0.5));
      if (column !== null) box(chart, left + x.c2p(column - 0.5), top, x.c2p(column + 0.5) - x.c2p(column - 0.5), height);
    }
  }

  function box(chart, left, top, width, height) {
    const mark = document.createElement('div');
    mark.className = 'nvib-pointed';
    Object.assign(mark.style, {
      position: 'absolute', pointerEvents: 'none', boxSizing: 'border-box', outline: '2px solid #E69F00',
      left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px`,
    });
    chart.append(mark);
  }

  function clear() {
    document.querySelectorAll('.nvib-pointed').forEach((mark) => mark.remove());
    strips.forEach((strip) => strip.buttons.forEach((button) => button.classList.remove('pointed')));
  }

  function onMap({ x, y }) {
    clear();
    for (const strip of strips) {
      if (strip.query && strip.buttons[y]) strip.buttons[y].classList.add('pointed');
      if (strip.key && x >= 0 && strip.buttons[x]) strip.buttons[x].classList.add('pointed');
    }
  }

  // Charts come and go with every run of the page: they are taken in when the pointer reaches them.
  const arrive = (event) => {
    const chart = event.target.closest && event.target.closest('.js-plotly-plot');
    if (!chart || attached.has(chart) || !chart.on || ![...charts(), ...found(data.overview)].includes(chart)) return;
    attached.add(chart);
    for (const name of ['hover', 'unhover', 'click']) {
      chart.on(`plotly_${name}`, (event) => {
        chart.dispatchEvent(new CustomEvent(`nvib-${name}`, { bubbles: true, detail: event && event.points[0] }));
      });
    }
  };
  const hovered = (event) => charts().includes(event.target) && onMap(event.detail);
  const clicked = (event) => {
    const { x, y } = event.detail;
    setTriggerValue('picked', { axis: charts().includes(event.target) ? 'cell' : 'head', x, y });
  };
  if (focused >= 0) root.querySelectorAll('button')[focused]?.focus({ preventScroll: true });
  const events = { pointerover: arrive, 'nvib-hover': hovered, 'nvib-unhover': clear, 'nvib-click': clicked };
  for (const [name, react] of Object.entries(events)) document.addEventListener(name, react);
  return () => {
    clear();
    for (const [name, react] of Object.entries(events)) document.removeEventListener(name, react);
  };
}
