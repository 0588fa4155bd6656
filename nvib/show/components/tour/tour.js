// The tour: an offer that goes for good once it was taken or declined, and a card that frames one part of the page after
// the other. The page stays usable behind it. Whether it was offered is the browser's to know, not the server's.
const ASKED = 'nvib-tour';  // in localStorage: "taken" or "declined"
const PATIENCE = 60000;  // milliseconds in which the page that it is of comes
const BEGUN = 'nvib-tour-begun';  // in sessionStorage: the word with which it was last begun anew

const remembered = (store, name) => {
  try { return store().getItem(name); } catch { return null; }  // a browser may keep nothing for a page
};
const remember = (store, name, value) => {
  try { store().setItem(name, value); } catch { /* it is offered again, then */ }
};
const local = () => localStorage, session = () => sessionStorage;

export default function ({ data, parentElement }) {
  const part = (name) => parentElement.querySelector(`.${name}`);
  const [offer, frame, card] = ['offer', 'frame', 'card'].map(part);
  const tour = (parentElement.nvibTour ??= { asked: remembered(local, ASKED), steps: null, at: 0 });
  offer.hidden = Boolean(tour.asked) || !card.showPopover;

  const place = (step) => step.places.map((found) => document.querySelector(found))
    .find((found) => found && found.getClientRects().length && found.getBoundingClientRect().right > 0);

  function answer(word) {
    tour.asked = word;
    remember(local, ASKED, word);
    offer.hidden = true;
  }

  function begin() {
    answer('taken');
    tour.steps = data.steps;
    tour.at = 0;
    show(1);
  }

  function show(way) {
    const { steps } = tour;
    let target = place(steps[tour.at]);
    while (!target && steps[tour.at + way]) {  // what this model or this width does not have is left out
      tour.at += way;
      target = place(steps[tour.at]);
    }
    const step = steps[tour.at];
    part('title').textContent = step.title;
    part('words').textContent = step.words;
    part('count').textContent = `${tour.at + 1} of ${steps.length}`;
    part('back').hidden = tour.at === 0;
    part('next').hidden = tour.at === steps.length - 1;
    if (!frame.matches(':popover-open')) frame.showPopover();
    if (!card.matches(':popover-open')) card.showPopover();
    if (target) target.scrollIntoView({ block: 'center' });
    card.focus({ preventScroll: true });
    follow();
  }

  function follow() {
    cancelAnimationFrame(tour.frame);
    if (!tour.steps) return;
    const target = place(tour.steps[tour.at]);
    const box = target && target.getBoundingClientRect();
    const shown = box ? { left: box.left - 4, top: box.top - 4, width: box.width + 8, height: box.height + 8 } : {};
    const style = Object.entries(shown).map(([name, value]) => `${name}: ${Math.round(value)}px`).join('; ');
    const whole = box ? style : 'display: none';
    if (frame.getAttribute('style') !== whole) frame.setAttribute('style', whole);
    tour.frame = requestAnimationFrame(follow);
  }

  function end() {
    tour.steps = null;
    cancelAnimationFrame(tour.frame);
    for (const each of [frame, card]) if (each.matches(':popover-open')) each.hidePopover();
  }

  part('take').onclick = begin;
  part('decline').onclick = () => answer('declined');
  part('back').onclick = () => { tour.at -= 1; show(-1); };
  part('next').onclick = () => { tour.at += 1; show(1); };
  part('end').onclick = end;
  card.onkeydown = (event) => { if (event.key === 'Escape') end(); };

  if (tour.steps) follow();
  const anew = data.begun && remembered(session, BEGUN) !== data.begun && tour.begun !== data.begun;
  if (anew && card.showPopover) {
    tour.begun = data.begun;
    remember(session, BEGUN, data.begun);
    const start = performance.now();
    const wait = () => {  // for the page, which is only coming
      if (place(data.steps[0]) || performance.now() - start > PATIENCE) begin();
      else tour.waiting = setTimeout(wait, 100);
    };
    wait();
  }
  return () => {
    clearTimeout(tour.waiting);
    end();
  };
}
