"use strict";
// What scrolls can be reached by keyboard, and the search field says what it is.
document.addEventListener("DOMContentLoaded", function () {
  window.setTimeout(function () {
    document.querySelectorAll(".md-typeset__scrollwrap, article pre, .table-wrapper, .md-typeset pre > code").forEach(function (part) {
      part.tabIndex = 0;
    });
    document.querySelectorAll(".md-search[role=dialog]").forEach(function (part) { part.setAttribute("aria-label", "Search"); });
  }, 0);
});
