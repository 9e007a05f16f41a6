// Keeps a run's page up to date: listens to its events and fetches the changed part, rendered by the server.
"use strict";
(() => {
  const live = document.getElementById("live");
  const offline = document.getElementById("offline");
  const address = `/runs/${encodeURIComponent(live.dataset.run)}/live`;
  let asked = false;

  async function refresh() {
    asked = false;
    try {
      const answer = await fetch(address, { headers: { Accept: "text/html" }, credentials: "same-origin" });
      if (!answer.ok) throw new Error(String(answer.status));
      const text = await answer.text();
      const part = new DOMParser().parseFromString(text, "text/html");
      // Another status offers other actions, which are outside the changing part.
      if (part.querySelector(".state").dataset.status !== live.dataset.status) location.reload();
      else live.replaceChildren(...part.body.childNodes);
      offline.hidden = true;
    } catch {
      offline.hidden = false;
    }
  }

  function soon() {
    if (!asked) {
      asked = true;
      setTimeout(refresh, 800);
    }
  }

  const source = new EventSource(`/v1/runs/${encodeURIComponent(live.dataset.run)}/events`);
  source.addEventListener("message", soon);
  source.addEventListener("end", () => { source.close(); refresh(); });
  source.addEventListener("open", () => { offline.hidden = true; });
  source.addEventListener("error", () => { offline.hidden = false; });
  // Progress without an event: look now and then while the page is seen.
  setInterval(() => { if (!document.hidden) soon(); }, 5000);
})();
