// The text as buttons, linked with the maps: pointing at a token frames its row and column in every map, pointing at
// a cell marks its tokens here, and pressing a token picks it. Tokens are data: they reach the page as textContent.
const attached = new WeakSet();

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector('.strips');
  const strips = data.strips.map((strip) => draw(strip));
  root.replaceChildren(...strips.map((strip) => strip.element));

  const charts = () => data.maps.flatMap((key) => [...document.querySelectorAll(`.st-key-${key} .js-plotly-plot`)]);

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
      button.title = `${n}: ${strip.told[n]}`;
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

  function onMap(event) {
    clear();
    const { x, y } = event.points[0];
    for (const strip of strips) {
      if (strip.query && strip.buttons[y]) strip.buttons[y].classList.add('pointed');
      if (strip.key && x >= 0 && strip.buttons[x]) strip.buttons[x].classList.add('pointed');
    }
  }

  // Charts come and go with every run of the page: they are taken in when the pointer reaches them.
  const arrive = (event) => {
    const chart = event.target.closest && event.target.closest('.js-plotly-plot');
    if (!chart || attached.has(chart) || !chart.on || !charts().includes(chart)) return;
    attached.add(chart);
    chart.on('plotly_hover', (hover) => chart.dispatchEvent(new CustomEvent('nvib-hover', { bubbles: true, detail: hover })));
    chart.on('plotly_unhover', () => chart.dispatchEvent(new CustomEvent('nvib-unhover', { bubbles: true })));
  };
  const hovered = (event) => onMap(event.detail);
  document.addEventListener('pointerover', arrive);
  document.addEventListener('nvib-hover', hovered);
  document.addEventListener('nvib-unhover', clear);
  return () => {
    clear();
    document.removeEventListener('pointerover', arrive);
    document.removeEventListener('nvib-hover', hovered);
    document.removeEventListener('nvib-unhover', clear);
  };
}
