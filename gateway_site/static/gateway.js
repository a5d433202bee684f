// What pages do beyond HTML: times in the visitor's time zone, and buttons that copy text. Without
// it times are in UTC, and the text can be selected.
"use strict";
(() => {
  const texts = document.currentScript.dataset; // in the visitor's language
  const language = document.documentElement.lang;
  const inZone = new Intl.DateTimeFormat(language === "en" ? "en-GB" : language, {
    day: "numeric", month: "short", year: "numeric",
    hour: "2-digit", minute: "2-digit", timeZoneName: "short",
  });
  for (const time of document.querySelectorAll("time[datetime]")) {
    time.title = time.textContent; // UTC
    time.textContent = inZone.format(new Date(time.dateTime));
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
