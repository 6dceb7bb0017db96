"use strict";
// Keys and values: typing in the last row appends an empty row.
(() => {
  const rows = document.querySelector(".rows");
  rows?.addEventListener("input", () => {
    const pairs = rows.querySelectorAll(".pair");
    const lastPair = pairs[pairs.length - 1];
    if (![...lastPair.querySelectorAll("input")].some((input) => input.value)) return;
    const emptyPair = lastPair.cloneNode(true);
    for (const input of emptyPair.querySelectorAll("input")) input.value = "";
    lastPair.after(emptyPair);
  });
})();
