"use strict";
// The rows of keys and values: there is always an empty one at the end.
(() => {
  const rows = document.querySelector(".rows");
  rows?.addEventListener("input", () => {
    const pairs = rows.querySelectorAll(".pair");
    const last = pairs[pairs.length - 1];
    if (![...last.querySelectorAll("input")].some((field) => field.value)) return;
    const next = last.cloneNode(true);
    for (const field of next.querySelectorAll("input")) field.value = "";
    last.after(next);
  });
})();
