// What a page without scripts does not need: times that go on, and a docket that notices changes. It writes text and reloads;
// it never builds markup and never sends a form.
"use strict";

function span(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  const minutes = Math.floor((seconds % 3600) / 60);
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${String(minutes).padStart(2, "0")} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

function tick() {
  const now = Date.now();
  for (const time of document.querySelectorAll("time[data-since]")) time.textContent = span(now - Number(time.dataset.since));
  for (const time of document.querySelectorAll("time[data-until]")) {
    const left = Number(time.dataset.until) - now;
    time.textContent = left > 0 ? span(left) : "passed";
  }
}

const docket = document.querySelector("[data-live]");
if (docket) {
  const changes = new EventSource(docket.dataset.live);
  // A mark that is not the page's own means that other rows would be shown now, whenever the change came.
  changes.addEventListener("docket", (event) => {
    if (event.data !== docket.dataset.mark) location.reload();
  });
  window.addEventListener("pagehide", () => changes.close());
}

if (document.querySelector("time[data-since], time[data-until]")) setInterval(tick, 1000);
