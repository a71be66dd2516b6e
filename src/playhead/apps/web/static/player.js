// The player: starts at the moment, follows clicks and keys on the curve, and joins videos that lie in several files.
"use strict";
(() => {
  const holder = document.getElementById("player");
  const video = document.getElementById("video");
  const curve = document.getElementById("curve");
  const cursor = document.getElementById("cursor");
  const now = document.getElementById("now");
  const still = document.getElementById("still");
  const parts = JSON.parse(holder.dataset.parts);
  const duration = Number(holder.dataset.duration);
  const start = Number(holder.dataset.start);
  const times = JSON.parse(curve.dataset.times || "[]");
  const standing = JSON.parse(curve.dataset.standing || "[]");
  const threshold = Number(curve.dataset.threshold || Infinity);
  const moments = [...document.querySelectorAll(".moments a")].map((link) => Number(link.dataset.time));
  let part = -1; // the file that is loaded
  let place = start; // the second that is wanted or shown
  let broken = false;

  function clock(seconds) {
    const tenths = Math.round(seconds * 10);
    const hours = Math.floor(tenths / 36000);
    const minutes = Math.floor(tenths / 600) % 60;
    const rest = ((tenths % 600) / 10).toFixed(1).padStart(4, "0");
    return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
  }

  function partAt(seconds) {
    let found = 0;
    parts.forEach(([, begin], number) => {
      if (begin <= seconds) found = number;
    });
    return found;
  }

  function seek(seconds, play = !video.paused) {
    place = Math.min(Math.max(seconds, 0), duration);
    show();
    if (broken) return showStill();
    if (!parts.length) return;
    const wanted = partAt(place);
    const within = place - parts[wanted][1];
    if (wanted !== part) {
      part = wanted;
      const address = parts[part][0];
      if (new URL(video.currentSrc || video.src || "about:blank", location.href).pathname !== address) {
        video.src = `${address}#t=${within}`;
      }
    }
    const jump = () => {
      if (Math.abs(video.currentTime - within) > 0.01) video.currentTime = within;
      if (play) video.play().catch(() => {}); // a browser may want a click first; the frame is shown all the same
    };
    if (video.readyState >= HTMLMediaElement.HAVE_METADATA) jump();
    else video.addEventListener("loadedmetadata", jump, { once: true });
  }

  function show() {
    const x = duration ? (1000 * place) / duration : 0;
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    now.textContent = clock(place);
    curve.setAttribute("aria-valuenow", place.toFixed(1));
    curve.setAttribute("aria-valuetext", clock(place) + tell(place));
    follow();
  }

  function tell(seconds) {
    if (!times.length) return "";
    let nearest = 0;
    times.forEach((time, number) => {
      if (Math.abs(time - seconds) < Math.abs(times[nearest] - seconds)) nearest = number;
    });
    return standing[nearest] >= threshold ? ", matches" : ", does not match";
  }

  let current = null;
  function follow() {
    let last = null;
    for (const link of document.querySelectorAll("#narrations a")) {
      if (Number(link.dataset.time) <= place + 0.05) last = link.parentElement;
    }
    if (last === current) return;
    current?.removeAttribute("aria-current");
    last?.setAttribute("aria-current", "true");
    current = last;
    if (last) last.parentElement.scrollTop = last.offsetTop - last.parentElement.offsetTop - 60;
  }

  let stillTimer = 0;
  function showStill() {
    clearTimeout(stillTimer);
    stillTimer = setTimeout(() => {
      still.src = `/media/${holder.dataset.video}/thumbnail.jpg?t=${place.toFixed(1)}&height=360`;
      still.alt = `The video at ${clock(place)}`;
    }, 150);
  }

  video.addEventListener("timeupdate", () => {
    if (video.seeking || part < 0) return;
    place = parts[part][1] + video.currentTime;
    show();
  });
  video.addEventListener("ended", () => {
    if (part + 1 < parts.length) seek(parts[part + 1][1], true);
  });
  video.addEventListener("error", () => {
    broken = true;
    video.hidden = true;
    still.hidden = false;
    document.getElementById("broken").hidden = false;
    showStill();
  });

  const timeAt = (event) => {
    const frame = curve.getBoundingClientRect();
    return (duration * (event.clientX - frame.left)) / frame.width;
  };
  curve.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    curve.setPointerCapture(event.pointerId);
    seek(timeAt(event));
  });
  curve.addEventListener("pointermove", (event) => {
    if (curve.hasPointerCapture(event.pointerId)) seek(timeAt(event));
  });

  function toggle() {
    if (video.paused) video.play().catch(() => {});
    else video.pause();
  }

  const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 };
  curve.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in steps) seek(place + steps[event.key]);
    else if (event.key === "Home") seek(0);
    else if (event.key === "End") seek(duration);
    else if (event.key === " " || event.key === "Enter") toggle();
    else return;
    event.preventDefault();
  });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, select")) return;
    if (event.key === "/") {
      event.preventDefault();
      document.getElementById("q").focus();
    } else if (event.key === "n") {
      const next = moments.find((time) => time > place + 0.1);
      if (next !== undefined) seek(next);
    } else if (event.key === "p") {
      const before = moments.filter((time) => time < place - 1).pop();
      if (before !== undefined) seek(before);
    }
  });

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-time]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    seek(Number(link.dataset.time));
    history.replaceState(null, "", link.href);
  });

  seek(start, new URLSearchParams(location.search).has("play"));
  if (video.error) video.dispatchEvent(new Event("error"));
})();
