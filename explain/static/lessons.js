// Six short lessons. A card has a text, and settings that the page takes over when it is shown.

const STORY = "Once upon a time there was a";
const TOYS = "List three toys.\n1. drum\n2. ball\n3.";

export const LESSONS = [
  {
    title: "Temperature",
    cards: [
      {
        text: "The model gives each token a score, its logit. Softmax turns the scores into probabilities. At temperature 1 they stay as they are: the columns “model” and “temperature” agree. Tokens with a warm color were unlikely.",
        set: { prompt: STORY, values: { temperature: 1, seed: 7, max_tokens: 24 } },
      },
      {
        text: "Temperature divides the logits. Below 1 the differences grow, and the likely tokens gain. Move the slider: this page recomputes the columns at once, and Run generates a new text.",
        set: { prompt: STORY, values: { temperature: 0.4, seed: 7, max_tokens: 24 } },
      },
      {
        text: "Above 1 the distribution is flatter, and rare tokens get a chance. The order of the tokens never changes.",
        set: { prompt: STORY, values: { temperature: 2, seed: 7, max_tokens: 24 } },
      },
      {
        text: "Temperature 0 is greedy: only the most likely token is left, the lowest id if several tie. The noise of the seed cannot change anything now.",
        set: { prompt: STORY, values: { temperature: 0, seed: 7, max_tokens: 24 } },
      },
    ],
  },
  {
    title: "Truncation and ties",
    cards: [
      {
        text: "top_k keeps the k most likely tokens. Each removed token is struck through, with its rank as the reason.",
        set: { prompt: TOYS, values: { temperature: 1, top_k: 4, seed: 7, max_tokens: 4 } },
      },
      {
        text: "min_p compares a token with the most likely one: a token stays if p ≥ min_p × p_max. How many are left depends on how sure the model is.",
        set: { prompt: TOYS, values: { temperature: 1, min_p: 0.98, seed: 7, max_tokens: 4 } },
      },
      {
        text: "top_p keeps the most likely tokens until their mass reaches top_p. The token that crosses the line stays. It acts last, on what the other two left.",
        set: { prompt: TOYS, values: { temperature: 1, top_k: 6, top_p: 0.6, seed: 7, max_tokens: 4 } },
      },
      {
        text: "Tokens that tie at the boundary are kept together, so the result does not depend on the order of the vocabulary. Engines that sort cut a tie. Compare with one of them below, and open the column “top_k” for the decision.",
        set: { prompt: TOYS, values: { temperature: 2, top_k: 6, top_p: 0.6, seed: 7, max_tokens: 4 }, against: "llama.cpp" },
      },
    ],
  },
  {
    title: "Penalties",
    cards: [
      {
        text: "repetition_penalty divides the logits of all tokens that occur in the prompt or the output, once, however often they occur. “drum” and “ball” are in the prompt: look at their rows.",
        set: { prompt: TOYS, values: { temperature: 1, repetition_penalty: 1.3, seed: 7, max_tokens: 4 } },
      },
      {
        text: "frequency_penalty counts the output only: each occurrence of a token lowers it again. Select a late token: what is frequent has fallen.",
        set: { prompt: STORY, values: { temperature: 1, frequency_penalty: 1.5, seed: 7, max_tokens: 40 }, token: 30 },
      },
      {
        text: "A negative penalty rewards repetition. The table has the top tokens before and after the steps, so the tokens that a penalty raises are rows, too.",
        set: { prompt: STORY, values: { temperature: 1, frequency_penalty: -2, seed: 7, max_tokens: 40 }, token: 30 },
      },
    ],
  },
  {
    title: "Seeds and n",
    cards: [
      {
        text: "The draw adds noise to each final logit, and the best score wins. The noise is a function of the seed, the choice, the position and the token id. See the draw below the columns: winner and runner-up.",
        set: { prompt: STORY, values: { temperature: 1, seed: 7, max_tokens: 16 } },
      },
      {
        text: "The noise belongs to the token id. With the same seed, a winner that top_p keeps stays the winner. Compare with the pinned settings: the texts part where the winner was removed.",
        set: {
          prompt: STORY,
          values: { temperature: 1, top_p: 0.7, seed: 7, max_tokens: 16 },
          pinned: { prompt: STORY, values: { temperature: 1, seed: 7, max_tokens: 16 } },
          against: "pinned",
        },
      },
      {
        text: "n requests several texts. Each choice has its own noise, and choice 0 is the same as with n = 1. Choose another one above the text, or turn the dial to another seed.",
        set: { prompt: STORY, values: { temperature: 1, n: 3, seed: 7, max_tokens: 16 } },
      },
    ],
  },
  {
    title: "Log-probabilities",
    cards: [
      {
        text: "logprobs reports the model's own distribution: the column “model”, before every step. Open “The request” below to see the numbers in the response.",
        set: { prompt: STORY, values: { temperature: 0.3, logprobs: 3, seed: 7, max_tokens: 12 } },
      },
      {
        text: "So another temperature changes the text, but not how the same token is reported. Some engines report the last column instead.",
        set: { prompt: STORY, values: { temperature: 2, logprobs: 3, seed: 7, max_tokens: 12 } },
      },
    ],
  },
  {
    title: "Stops and structure",
    cards: [
      {
        text: "A stop string ends the text before the match. Tokens that are sampled but not in the text are gray.",
        set: { prompt: STORY, values: { temperature: 1, stop: ["."], seed: 7, max_tokens: 60 } },
      },
      {
        text: "response_format masks every token that cannot lead to a valid text. Here, a regular expression allows three colors: the first column after “model” removes nearly everything.",
        set: {
          prompt: "The lamp is",
          values: { response_format: { type: "regex", regex: " (red|green|blue)" }, temperature: 1, seed: 7, max_tokens: 8 },
        },
      },
      {
        text: "With a JSON object the mask changes at each token: after a quote, letters; after a value, a comma or a brace. Walk through the tokens with the arrow keys.",
        set: {
          prompt: "Write a JSON record of a person named Lily.\n",
          values: { response_format: { type: "json_object" }, temperature: 0.5, seed: 7, max_tokens: 48 },
        },
      },
    ],
  },
];
