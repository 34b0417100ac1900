"use strict";
// Runs before the terminal's own script starts, which reads the address of its socket from the page.
document.addEventListener("DOMContentLoaded", () => {
  const socket = new URL("socket", window.location.href);
  socket.protocol = window.location.protocol === "https:" ? "wss:" : "ws:";
  document.getElementById("terminal").dataset.sessionWebsocketUrl = socket.href;
  document.querySelector("#over button").addEventListener("click", () => window.location.reload());
});
