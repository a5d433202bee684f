// What pages do beyond HTML: times in the visitor's time zone, buttons that copy text, and a reload
// in an outage. Without it times are in UTC, the text can be selected, and a link reloads.
"use strict";
(() => {
  const texts = document.currentScript.dataset; // in the visitor's language
  const language = document.documentElement.lang;
  const inZone = new Intl.DateTimeFormat(language === "en" ? "en-GB" : language, {
    day: "numeric", month: "short", year: "numeric",
    hour: "2-digit", minute: "2-digit", timeZoneName: "short",
  });
  for (const time of document.querySelectorAll("time[datetime]")) {
    const shown = inZone.format(new Date(time.dateTime));
    if ("relative" in time.dataset) time.title = shown;
    else {
      time.title = time.textContent; // UTC
      time.textContent = shown;
    }
  }

  // In an outage, after the seconds of Retry-After, then twice as many, up to a minute but never
  // before Retry-After, unless the person stops it. Only the response to a GET has this, so no form
  // is sent again.
  const reload = document.querySelector("[data-reload]");
  if (reload !== null) {
    const tries = history.state?.tries ?? 0;
    const first = Number(reload.dataset.reload);
    let left = Math.max(first, Math.min(60, first * 2 ** tries));
    const number = reload.querySelector("span");
    number.textContent = left;
    reload.hidden = false;
    const timer = setInterval(() => {
      left -= 1;
      number.textContent = Math.max(0, left);
      if (left > 0) return;
      clearInterval(timer);
      history.replaceState({ tries: tries + 1 }, "");
      location.reload();
    }, 1000);
    reload.querySelector("[data-stop]").addEventListener("click", () => {
      clearInterval(timer);
      reload.hidden = true;
      document.querySelector(".actions a").focus(); // "Reload now"
    });
  }

  if (!navigator.clipboard) return; // not over plain http, except on this computer

  let status = null;

  // Made at the first use: pages that copy nothing have no empty status.
  function addStatus() {
    status = document.createElement("p");
    status.setAttribute("role", "status");
    status.className = "visually-hidden";
    document.getElementById("main").append(status);
  }

  async function copy(button, usualLabel) {
    if (status === null) addStatus();
    const label = button.firstElementChild;
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent.trim());
      label.textContent = texts.copied;
      status.textContent = texts.isCopied;
    } catch {
      getSelection().selectAllChildren(source);
      status.textContent = texts.isSelected;
    }
    setTimeout(() => {
      label.textContent = usualLabel;
      status.textContent = "";
    }, 3000);
  }

  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.hidden = false;
    const usualLabel = button.firstElementChild.textContent;
    button.addEventListener("click", () => copy(button, usualLabel));
  }
})();
