// Keeps a form's buttons waiting until a person can have seen what they confirm: the page has been
// visible and focused for a second without a break, and the buttons and whatever is marked with
// data-must-be-seen have each been fully in view since then. Another site could otherwise place this
// page under the second click of a double click. See oauth/sign_in/click_delay.py, which checks the time on
// the server as well.
"use strict";
(() => {
  if (window.clickDelay) return; // A page may have several forms, each with this script.
  window.clickDelay = true;
  const texts = document.currentScript.dataset; // in the visitor's language

  const DELAY = 1000; // milliseconds
  const SLACK = 1; // pixels: at fractional zoom a rectangle may end beyond the window by less
  const forms = [...document.querySelectorAll('input[name="shown_at"]')].map((field) => field.form);
  const buttons = forms.flatMap((form) =>
    [...form.querySelectorAll("button, input[type=submit]")].filter((each) => !("noDelay" in each.dataset)),
  );
  const mustBeSeen = [...document.querySelectorAll("[data-must-be-seen]")];
  const edgesSeen = new Map(); // element -> which of its ends have been in view
  let since = null; // when the page was last shown and focused, null while it is not
  let timer = 0;

  function start() {
    clearTimeout(timer);
    edgesSeen.clear();
    const isShown = document.visibilityState === "visible" && document.hasFocus();
    since = isShown ? performance.now() : null;
    if (isShown) {
      look();
      wait();
    } else update();
  }

  // A timer may end before the rounded clock shows its time: it is set again for the rest.
  function wait() {
    const left = since + DELAY - performance.now();
    if (left > 0) timer = setTimeout(wait, Math.ceil(left));
    update();
  }

  // An element that is larger than the window is seen once both of its ends have been.
  function look() {
    if (since === null) return;
    const view = window.visualViewport;
    const [left, top] = [view.offsetLeft - SLACK, view.offsetTop - SLACK];
    const [right, bottom] = [left + view.width + 2 * SLACK, top + view.height + 2 * SLACK];
    for (const each of [...mustBeSeen, ...buttons]) {
      const box = each.getBoundingClientRect();
      if (box.width === 0 || box.left < left || box.right > right) continue;
      const seen = edgesSeen.get(each) ?? { top: false, bottom: false };
      seen.top ||= box.top >= top && box.top <= bottom;
      seen.bottom ||= box.bottom <= bottom && box.bottom >= top;
      edgesSeen.set(each, seen);
    }
    update();
  }

  const isSeen = (each) => edgesSeen.get(each)?.top && edgesSeen.get(each)?.bottom;
  const hasWaited = () => since !== null && performance.now() - since >= DELAY;

  function reasonToWait(button) {
    if (!hasWaited()) return texts.wait;
    if (![...mustBeSeen, button].every(isSeen)) return texts.unread;
    return "";
  }

  function waitsFor(reason) {
    if (since === null) return "focus";
    if (reason === texts.wait) return "time";
    return reason === "" ? "" : "view";
  }

  function update() {
    for (const each of buttons) {
      const reason = reasonToWait(each);
      each.setAttribute("aria-disabled", String(reason !== ""));
      each.dataset.waits = waitsFor(reason); // the style sheet shows the second as progress
      const hint = each.form.querySelector("[data-click-hint]");
      if (hint !== null) hint.textContent = reason;
      const status = statusOf(each.form);
      if (status.textContent !== "") status.textContent = reason || texts.ready;
    }
  }

  // It speaks only once somebody tries too early: a notice on every page would be noise. A hint, which
  // the consent page has, is seen and not spoken.
  function explain(button) {
    statusOf(button.form).textContent = reasonToWait(button);
  }

  function statusOf(form) {
    return form.querySelector("[data-click-status]") ?? addStatus(form);
  }

  function addStatus(form) {
    const status = document.createElement("p");
    status.setAttribute("role", "status");
    status.dataset.clickStatus = "";
    if (form.querySelector("[data-click-hint]") !== null) status.className = "visually-hidden";
    form.append(status);
    return status;
  }

  function holdBack(event, button) {
    if (reasonToWait(button) === "") return;
    event.preventDefault();
    explain(button);
  }

  for (const button of buttons) {
    // 0 is a keyboard or a screen reader; 2 is the second click of a double click.
    button.addEventListener("click", (event) => {
      if (event.detail > 1) event.preventDefault();
      else holdBack(event, button);
    });
    // A key that was pressed on another page, and is still held down, repeats on this one.
    button.addEventListener("keydown", (event) => {
      if (event.repeat && (event.key === "Enter" || event.key === " ")) event.preventDefault();
    });
  }
  for (const form of forms) {
    form.addEventListener("submit", (event) => {
      const button = event.submitter ?? form.querySelector("button, input[type=submit]");
      if (buttons.includes(button)) holdBack(event, button);
    });
  }
  for (const name of ["focus", "blur", "pageshow"]) window.addEventListener(name, start);
  document.addEventListener("visibilitychange", start);
  document.addEventListener("scroll", look, { capture: true, passive: true });
  document.addEventListener("toggle", look, { capture: true }); // a button in <details>
  for (const name of ["resize", "scroll"]) window.visualViewport.addEventListener(name, look);
  window.addEventListener("resize", look);
  start();
})();
