// What pages do beyond HTML: times in the visitor's time zone, and buttons that copy text. Without
// it times are in UTC, and the text can be selected.
"use strict";
(() => {
  const inZone = new Intl.DateTimeFormat("en-GB", {
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

  async function copy(button) {
    if (status === null) addStatus();
    const label = button.firstElementChild;
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent.trim());
      label.textContent = "Copied";
      status.textContent = "Copied.";
    } catch {
      getSelection().selectAllChildren(source);
      status.textContent = "The text is selected. Press Ctrl+C to copy it.";
    }
    setTimeout(() => {
      label.textContent = "Copy";
      status.textContent = "";
    }, 3000);
  }

  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", () => copy(button));
  }
})();
