"use strict";
// Runs before the terminal's own script starts, which reads the address of its socket from the page.
document.addEventListener("DOMContentLoaded", () => {
  const socket = new URL("socket", window.location.href);
  socket.protocol = window.location.protocol === "https:" ? "wss:" : "ws:";
  document.getElementById("terminal").dataset.sessionWebsocketUrl = socket.href;
  // Keys go to the terminal as soon as it shows something: before that its socket takes none.
  const started = new MutationObserver(() => {
    if (!document.body.classList.contains("-first-byte")) return;
    started.disconnect();
    document.querySelector("#terminal textarea")?.focus();
  });
  started.observe(document.body, { attributeFilter: ["class"] });
  document.querySelector("#over button").addEventListener("click", () => window.location.reload());
});
