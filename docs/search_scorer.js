// How pages are ranked in a search: how-to pages and tutorials first, pages of the API last.
// (var: the search script of Sphinx declares the name once more.)
var Scorer = {
  score: (result) => {
    const [docname, , , , score] = result;
    if (docname.startsWith("_api/") || docname === "api" || docname === "genindex") return score - 1000;
    return docname.startsWith("howto/") || docname.startsWith("tutorial") ? score + 20 : score;
  },
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
