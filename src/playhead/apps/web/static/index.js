// The page of the index: progress as it comes, folders added and forgotten.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const section = byId("update");
  const LOOK = 5000; // milliseconds between two looks at whether an update has begun elsewhere
  let events = null;

  async function call(method, address, body) {
    const answer = await fetch(address, {
      method,
      headers: body ? { "Content-Type": "application/json" } : {},
      body: body && JSON.stringify(body),
    });
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.detail);
    return told;
  }

  function clock(seconds) {
    const whole = Math.round(seconds);
    return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
  }

  function describe(update) {
    if (update.state === "failed" || update.state === "stopped") return `${update.what}: ${update.problem}`;
    if (update.state === "done") {
      const names = ["added", "changed", "moved", "deleted", "unchanged", "failed"];
      const counts = names.filter((name) => update.report[name]).map((name) => `${update.report[name]} ${name}`);
      return `${update.what}: ${counts.join(", ") || "nothing to do"}`;
    }
    const at = update.progress;
    if (!at) return `${update.what}: looking for files`;
    const left = at.eta_seconds === null ? "" : `, ${clock(at.eta_seconds)} left`;
    return `${update.what}: ${at.videos_done} of ${at.num_videos} videos, ${Math.round(100 * at.share)} %${left}`;
  }

  let spoken = 0;
  function show(update) {
    const running = update.state === "running";
    section.hidden = update.state === "idle";
    const bar = byId("share");
    bar.hidden = !running;
    if (update.progress) bar.value = update.progress.share;
    else bar.removeAttribute("value");
    if (byId("stop")) byId("stop").hidden = !running;
    // A screen reader is told every few seconds, and at the end.
    if (!running || Date.now() - spoken > 3000) {
      byId("update-told").textContent = describe(update);
      spoken = Date.now();
    }
    bar.title = describe(update);
  }

  async function refresh() {
    const index = await call("GET", "/api/v1/index");
    byId("num-videos").textContent = index.num_videos.toLocaleString("en");
    byId("num-windows").textContent = index.num_windows.toLocaleString("en");
    byId("num-hours").textContent = index.hours.toFixed(2);
    return index;
  }

  function listen(reload) {
    if (events) return;
    events = new EventSource("/api/v1/index/events");
    events.addEventListener("update", (event) => {
      const update = JSON.parse(event.data);
      show(update);
      if (update.state === "running") return;
      events.close();
      events = null;
      refresh().catch(() => {});
      // The lists of folders and videos are the server's; the line that says what was done stays.
      if (reload && update.state === "done") setTimeout(() => location.reload(), 800);
    });
    events.addEventListener("error", () => {
      if (events?.readyState === EventSource.CLOSED) events = null;
    });
  }

  async function begin(method, address, body) {
    const problem = byId("add-problem");
    problem.hidden = true;
    try {
      show(await call(method, address, body));
      listen(true);
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
    }
  }

  byId("add")?.addEventListener("submit", (event) => {
    event.preventDefault();
    begin("POST", "/api/v1/index/folders", { path: byId("path").value });
  });
  byId("refresh")?.addEventListener("click", () => begin("POST", "/api/v1/index/update", { action: "start" }));
  byId("stop")?.addEventListener("click", () =>
    call("POST", "/api/v1/index/update", { action: "stop" }).catch(() => {}),
  );
  for (const button of document.querySelectorAll(".forget")) {
    button.addEventListener("click", () => {
      const path = button.dataset.path;
      if (!confirm(`Take ${path} out of the index? Its files stay where they are.`)) return;
      begin("DELETE", `/api/v1/index/folders?path=${encodeURIComponent(path)}`);
    });
  }

  listen(false);
  setInterval(async () => {
    if (events || document.hidden) return;
    const index = await refresh().catch(() => null);
    if (index?.update.state === "running") listen(false);
  }, LOOK);
})();
