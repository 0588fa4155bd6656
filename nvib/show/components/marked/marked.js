// Texts as tokens with a background each. Tokens are data: they reach the page as textContent.
export default function ({ data, parentElement }) {
  const root = parentElement.querySelector('.texts');
  root.replaceChildren(...data.texts.map((text) => {
    const line = document.createElement('p');
    const name = document.createElement('span');
    name.className = 'name';
    name.textContent = text.name;
    line.append(name);
    text.tokens.forEach((token, n) => {
      const mark = document.createElement('span');
      mark.className = n === text.at ? 'token at' : 'token';
      mark.textContent = token;
      mark.title = `${n}: ${text.words[n]}`;
      mark.style.background = text.colours[n];
      mark.style.color = text.inks[n];
      line.append(mark);
    });
    return line;
  }));
}
