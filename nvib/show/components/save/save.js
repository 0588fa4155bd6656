// Figures of the page as PNG or SVG, and the page as one HTML file that needs nothing else. Plotly is Streamlit's own,
// and is there as soon as a chart is. Words are data: they reach a document escaped.
const FORMS = { png: 'image/png', svg: 'image/svg+xml' };
const LETTER = 5.4;  // pixels of the caption's font, on average

export default function ({ data, parentElement }) {
  const chosen = parentElement.querySelector('select');
  const status = parentElement.querySelector('[role=status]');
  const before = chosen.value;
  chosen.replaceChildren(...data.figures.map(([key, title]) => new Option(title, key)));
  if (data.figures.some(([key]) => key === before)) chosen.value = before;
  parentElement.querySelector('.figure').hidden = !data.figures.length;

  const report = () => status.textContent = '';
  for (const button of parentElement.querySelectorAll('button')) {
    button.onclick = async () => {
      report();
      button.disabled = true;
      try {
        await (button.dataset.form === 'html' ? whole() : one(chosen.value, button.dataset.form));
      } catch (error) {
        status.textContent = `The figure cannot be saved: ${error.message}`;
      }
      button.disabled = false;
    };
  }

  async function one(key, form) {
    const [, title, says, file] = data.figures.find(([name]) => name === key);
    save(await drawn(key, title, says, form), `${data.name}-${file}.${form}`);
  }

  // A figure as a data URL, with its title above, and how to read it and where it comes from below.
  function drawn(key, title, says, form) {
    const chart = document.querySelector(`.st-key-${CSS.escape(key)} .js-plotly-plot`);
    if (!chart || !window.Plotly) throw new Error('it is not on the page now; open it first.');
    const { width, height, _size: size } = chart._fullLayout;
    const most = Math.max(20, Math.floor((width - 16) / LETTER));
    const lines = [...(says ? wrapped(says, most) : []), ...wrapped(data.caption, most)];
    const ground = getComputedStyle(parentElement.querySelector('.save')).getPropertyValue('--st-background-color');
    const layout = structuredClone(chart.layout);
    const margin = { l: size.l, r: size.r, t: size.t + 26, b: size.b + 13 * lines.length + 10, autoexpand: false };
    const note = {
      text: lines.map(escaped).join('<br>'), showarrow: false, align: 'left', font: { size: 10 },
      xref: 'paper', x: 0, xanchor: 'left', xshift: 8 - size.l,
      yref: 'paper', y: 0, yanchor: 'top', yshift: -size.b,
    };
    const heading = { text: escaped(title), x: 0, xref: 'container', xanchor: 'left', y: 1, yref: 'container',
      yanchor: 'top', pad: { l: 8, t: 8 }, font: { size: 14 } };
    const total = height + 36 + 13 * lines.length;
    Object.assign(layout, {
      margin, title: heading, annotations: [...(layout.annotations || []), note], width, height: total,
      autosize: false, paper_bgcolor: ground, plot_bgcolor: ground,
    });
    return Plotly.toImage({ data: chart.data, layout }, { format: form, width, height: total, scale: form === 'png' ? 2 : 1 });
  }

  async function whole() {
    const figures = [];
    for (const [key, title, says] of data.figures) {
      if (!document.querySelector(`.st-key-${CSS.escape(key)} .js-plotly-plot`)) continue;
      const url = await drawn(key, title, says, 'svg');
      const svg = decodeURIComponent(url.slice(url.indexOf(',') + 1));
      figures.push(`<figure><img alt="${escaped(title)}" src="data:image/svg+xml;base64,${base64(svg)}"></figure>`);
    }
    const page = data.report.replace('<!-- figures -->', () => figures.join('\n'));
    save(`data:text/html;charset=utf-8;base64,${base64(page)}`, `${data.name}.html`);
  }

  function save(url, name) {
    const [head, body] = [url.slice(5, url.indexOf(',')), url.slice(url.indexOf(',') + 1)];
    const bytes = head.includes('base64')
      ? Uint8Array.from(atob(body), (c) => c.charCodeAt(0))
      : decodeURIComponent(body);
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([bytes], { type: head.split(';')[0] }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }
}

function base64(text) {
  let binary = '';
  for (const byte of new TextEncoder().encode(text)) binary += String.fromCharCode(byte);
  return btoa(binary);
}

function escaped(text) {
  const marks = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
  return text.replace(/[&<>"]/g, (mark) => marks[mark]);
}

// Lines of so many letters at most; a word that is longer, such as a link, goes on in the next one.
function wrapped(text, most) {
  const lines = [''];
  for (const word of text.split(' ').flatMap((long) => long.match(new RegExp(`.{1,${most}}`, 'gsu')) || [''])) {
    const last = lines[lines.length - 1];
    if (last && last.length + word.length + 1 > most) lines.push(word);
    else lines[lines.length - 1] = last ? `${last} ${word}` : word;
  }
  return lines;
}
