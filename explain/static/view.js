// What is shown of one token: the same shape for the server's numbers and for the twin's.
//
// {stages: [{name, changed, kept, removed, removedMass, p: [per row], others}],
//  rows: [{id, text, removal}], draw: [{id, text, logit, noise, score}], chosen}

import { ranked, removal, topTokens } from "./steps.js";

const DRAWN = 5;

/** The numbers that the reference has computed. */
export function viewOfEvent(event) {
  return {
    stages: event.stages.map((s) => ({ ...s, removedMass: s.removed_mass })),
    rows: event.rows.map((row, i) => ({ ...row, removal: event.removed[i] })),
    draw: event.draw,
    chosen: event.id,
    winner: event.draw[0].id,
  };
}

/** The numbers that this page has computed, for the settings that are shown now. */
export function viewOfTwin(explanation, { run, chosen, top }) {
  const { stages, scores, noise, token, runnerUp } = explanation;
  const ids = [...new Set([...topTokens(explanation, top), chosen, token, ...[runnerUp ?? []].flat()])];
  const last = stages.at(-1);
  const best = ranked(scores).slice(0, DRAWN).filter((i) => Number.isFinite(scores[i]));
  return {
    stages: stages.map((s) => ({
      ...s,
      p: ids.map((i) => s.p[i]),
      others: Math.max(0, s.p.reduce((sum, p) => sum + p, 0) - ids.reduce((sum, i) => sum + s.p[i], 0)),
    })),
    rows: ids.map((id) => ({ id, text: run.text(id), removal: removal(explanation, id) })),
    draw: best.map((id) => ({
      id,
      text: run.text(id),
      logit: last.logits[id],
      noise: noise[id],
      score: scores[id],
    })),
    chosen,
    winner: token,
  };
}
