"use strict";
(function () {
  const files = JSON.parse(document.getElementById("data").textContent).clusters;
  const sections = Array.from(document.querySelectorAll(".cluster"));
  const status = document.getElementById("status");
  const text = document.getElementById("decisions");
  const link = document.getElementById("download");
  const boxes = sections.map(function (section) {
    return Array.from(section.querySelectorAll(".side > li"), function (card) {
      return card.querySelector(".decide input");  // null if it always stays
    });
  });
  if (!sections.length) { return; }

  function decisions() {
    const keep = [], go = [];
    files.forEach(function (names, cluster) {
      names.forEach(function (name, index) {
        const box = boxes[cluster][index];  // further members have no card, and go
        (box === null || (box && box.checked) ? keep : go).push(name);
      });
    });
    return { format: "pairsim-decisions", keep: keep, go: go };
  }
  function say(warning) {
    const found = decisions();
    text.value = JSON.stringify(found, null, 1);
    status.textContent = warning + found.keep.length.toLocaleString("en-US") + " to keep, " +
      found.go.length.toLocaleString("en-US") + " duplicates.";
  }
  function change(cluster, box) {
    let warning = "";
    if (!boxes[cluster].some(function (one) { return one === null || one.checked; })) {
      box.checked = true;
      warning = "One picture of a cluster has to be kept. ";
    }
    boxes[cluster].filter(Boolean).forEach(function (one) {
      const card = one.closest("li");
      card.className = one.checked ? "stays" : "goes";
      card.querySelector(".state").textContent = one.checked ? "keep" : "duplicate";
    });
    say(warning);
  }

  boxes.forEach(function (row, cluster) {
    row.filter(Boolean).forEach(function (box) {
      box.closest(".decide").hidden = false;
      box.addEventListener("change", function () { change(cluster, box); });
    });
    change(cluster, row.find(Boolean));
  });
  link.addEventListener("click", function () {
    const content = new Blob([text.value + "\n"], { type: "application/json" });
    link.href = URL.createObjectURL(content);
  });
  document.getElementById("tools").hidden = false;

  function place() {
    return sections.findIndex(function (section) { return section.contains(document.activeElement); });
  }
  function visit(cluster) {
    const section = sections[Math.min(Math.max(cluster, 0), sections.length - 1)];
    section.focus({ preventScroll: true });
    section.scrollIntoView({ block: "start" });
  }
  function step(by) {
    const row = boxes[place()].filter(Boolean);
    const now = row.indexOf(document.activeElement);
    row[now < 0 ? (by > 0 ? 0 : row.length - 1) : Math.min(Math.max(now + by, 0), row.length - 1)].focus();
  }
  document.addEventListener("keydown", function (event) {
    const target = event.target;
    if (!document.getElementById("keys").checked || event.ctrlKey || event.metaKey || event.altKey) { return; }
    if (target instanceof HTMLTextAreaElement) { return; }
    const at = place();
    if (event.key === "j") { visit(at + 1); }
    else if (event.key === "k") { visit(at < 0 ? sections.length - 1 : at - 1); }
    else if (event.key === "ArrowRight" && at >= 0) { step(1); }
    else if (event.key === "ArrowLeft" && at >= 0) { step(-1); }
    else if (event.key === "x" && boxes.some(function (row) { return row.includes(target); })) {
      target.click();
    } else { return; }
    event.preventDefault();
  });
})();
