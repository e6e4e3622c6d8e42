"use strict";
(function () {
  const data = JSON.parse(document.getElementById("counts").textContent);
  const slider = document.getElementById("threshold");
  const box = document.getElementById("threshold-value");
  const marks = Array.from(document.querySelectorAll(".threshold-mark"));

  function percent(share) {
    if (share === null) { return "not measurable"; }
    const value = share * 100;
    return value.toFixed(value !== 0 && value < 0.1 ? 4 : 3) + " %";
  }
  function whole(number) { return number.toLocaleString("en-US"); }
  function show(name, text) { document.getElementById(name).textContent = text; }

  function apply(threshold, positive, negative) {
    const missed = data.numPositive - positive;
    const fmr = data.numNegative ? negative / data.numNegative : null;
    const fnmr = data.numPositive ? missed / data.numPositive : null;
    show("fmr", percent(fmr));
    show("fnmr", percent(fnmr));
    show("balanced", percent(fmr === null || fnmr === null ? null : 1 - (fmr + fnmr) / 2));
    show("true-matches", whole(positive));
    show("false-non-matches", whole(missed));
    show("false-matches", whole(negative));
    show("true-non-matches", whole(data.numNegative - negative));
    const share = (threshold - data.low) / (1 - data.low);
    const at = data.chart.left + data.chart.width * Math.min(Math.max(share, 0), 1);
    marks.forEach(function (mark) { mark.setAttribute("x1", at); mark.setAttribute("x2", at); });
    slider.setAttribute("aria-valuetext", "similarity " + threshold.toFixed(4));
  }
  function choose(place) {
    const index = Math.min(Math.max(Math.round(place), 0), data.positive.length - 1);
    const threshold = data.first + index / data.perUnit;
    slider.value = String(index);
    box.value = threshold.toFixed(3);
    apply(threshold, data.positive[index], data.negative[index]);
  }
  function own() {
    slider.value = String(Math.round((data.own.threshold - data.first) * data.perUnit));
    box.value = data.own.threshold.toFixed(4);
    apply(data.own.threshold, data.own.positive, data.own.negative);
  }
  slider.addEventListener("input", function () { choose(Number(slider.value)); });
  box.addEventListener("change", function () {
    const asked = Number(box.value);
    if (box.value.trim() !== "" && Number.isFinite(asked)) { choose((asked - data.first) * data.perUnit); } else { own(); }
  });
  document.getElementById("own-threshold").addEventListener("click", own);
  own();

  document.querySelectorAll("table.sortable").forEach(function (table) {
    const body = table.tBodies[0];
    Array.from(table.tHead.rows[0].cells).forEach(function (cell, column) {
      cell.querySelector("button").addEventListener("click", function () {
        const down = cell.getAttribute("aria-sort") !== "descending";
        Array.from(table.tHead.rows[0].cells).forEach(function (other) { other.removeAttribute("aria-sort"); });
        cell.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = Array.from(body.rows);
        rows.sort(function (a, b) {
          const x = a.cells[column].dataset.value, y = b.cells[column].dataset.value;
          const order = column === 0 ? x.localeCompare(y, undefined, { numeric: true }) : Number(x) - Number(y);
          return down ? -order : order;
        });
        rows.forEach(function (row) { body.appendChild(row); });
      });
    });
  });
})();
