// The body of a request, and the same request as a curl command.

/** Return the body of a completion as JSON. An integer that a number cannot represent is a string
 *  in the values, and an integer in the JSON. */
export function bodyText(model, prompt, values, more = {}) {
  const { seed, ...rest } = values;
  const text = JSON.stringify({ model, prompt, ...rest, ...more });
  return seed === undefined ? text : `${text.slice(0, -1)},"seed":${seedText(seed)}}`;
}

function seedText(seed) {
  return /^-?\d+$/.test(String(seed)) ? String(seed) : JSON.stringify(seed);
}

/** Return the request as a command of a POSIX shell. */
export function curl(base, model, prompt, values, needsKey) {
  const { top, ...completion } = values;
  const body = bodyText(model, prompt, shortened(completion)).replaceAll("'", String.raw`'\''`);
  const key = needsKey ? ' \\\n  -H "Authorization: Bearer $API_KEY"' : "";
  return `curl ${base}v1/completions${key} \\\n  -d '${body}'`;
}

/** Images are too long to show. */
function shortened(values) {
  if (!values.data?.image) return values;
  return { ...values, data: { image: values.data.image.map((uri) => `${uri.slice(0, 30)}…`) } };
}
