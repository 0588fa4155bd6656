// A button that copies the page's address with the view's parameters.
const HERE = /^(localhost|.+\.localhost|127(\.\d+){3}|0\.0\.0\.0|\[::1?\]|\[::ffff:7f\w\w:\w+\])$/;

export default function ({ data, parentElement }) {
  const button = parentElement.querySelector('button');
  const status = parentElement.querySelector('[role=status]');
  const say = (sentence) => {
    status.textContent = sentence;
    clearTimeout(button.timer);
    button.timer = setTimeout(() => { status.textContent = ''; }, 10000);
  };
  button.onclick = async () => {
    // While the page is at work the address bar is ahead of this button: then it is the link, without a fingerprint.
    const here = new URLSearchParams(location.search);
    const own = data.address === null;
    const same = own || here.toString() === new URLSearchParams(data.address).toString();
    if ((here.has('view') && !own) || (same && !data.query)) {
      say(own ? 'Too long for a link: save it as a .json file.'
        : 'Too long for a link: Export saves it as a .json scenario.');
      return;
    }
    const link = `${location.origin}${location.pathname}?${same ? data.query : here}`;
    try {
      await navigator.clipboard.writeText(link);
    } catch {  // no permission, or a page that is not served over https
      const field = document.createElement('textarea');
      field.value = link;
      parentElement.append(field);
      field.select();
      const copied = document.execCommand('copy');
      field.remove();
      if (!copied) {
        say(link);
        return;
      }
    }
    say(HERE.test(location.hostname)
      ? 'Link copied. It opens on this machine alone: nvib serve --lan has an address for others.'
      : 'Link copied');
  };
}
