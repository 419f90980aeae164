// The parameters of a body of /v1/explain, as the OpenAPI document describes them.

const SEEDS = { minimum: -(2n ** 63n), exclusiveMaximum: 2n ** 64n };

/** Return the parameters: {name: {name, schema, kind, nullable, required, default}}. */
export function parameters(document) {
  const schemas = document.components.schemas;
  const resolve = (s) => (s.$ref ? { ...schemas[s.$ref.split("/").pop()], ...s } : s);
  const result = {};
  for (const [name, property] of Object.entries(schemas.ExplainRequest.properties)) {
    const variants = (property.anyOf ?? [property]).map(resolve);
    const main = variants.find((variant) => variant.type !== "null") ?? {};
    result[name] = {
      name,
      schema: { ...main, description: property.description ?? main.description },
      nullable: variants.some((variant) => variant.type === "null"),
      required: !("default" in property),
      default: property.default ?? null,
      kind: kindOf(name, main, variants),
    };
  }
  return result;
}

function kindOf(name, schema, variants) {
  if (name === "seed") return "seed";
  if (name === "response_format") return "format";
  if (name === "data") return "images";
  if (variants.some((v) => v.type === "array" && v.items?.type === "string")) return "lines";
  if (schema.oneOf || schema.discriminator) return "lines";
  if (schema.type === "array") return "integers";
  if (schema.type === "boolean") return "boolean";
  if (schema.type === "number" || schema.type === "integer") return "number";
  return schema.type === "object" ? "object" : "text";
}

/** Return the value of a parameter in a request: as set, or its default. */
export function valueOf(parameter, values) {
  return values[parameter.name] ?? parameter.default;
}

/** Return the values of all parameters. */
export function allValues(known, values) {
  return Object.fromEntries(Object.values(known).map((p) => [p.name, valueOf(p, values)]));
}

/** Return the range of a number as text. */
export function range({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }) {
  const parts = [];
  if (minimum !== undefined) parts.push(`≥ ${minimum}`);
  if (exclusiveMinimum !== undefined) parts.push(`> ${exclusiveMinimum}`);
  if (maximum !== undefined) parts.push(`≤ ${maximum}`);
  if (exclusiveMaximum !== undefined) parts.push(`< ${exclusiveMaximum}`);
  return Math.abs(minimum) > 1e15 ? "" : parts.join(", ");
}

/** Return what is wrong with some values of parameters that have a default, by name. A server has
 *  its own messages; these are of a page without one. */
export function violations(known, values) {
  const result = {};
  for (const parameter of Object.values(known)) {
    const message = violation(parameter, valueOf(parameter, values));
    if (message) result[parameter.name] = message;
  }
  return result;
}

function violation({ kind, schema, nullable, required }, value) {
  if (value === null) return nullable || required ? null : "must not be null";
  if (kind === "seed") return seedViolation(String(value));
  if (kind === "number") return numberViolation(schema, value);
  if (kind !== "integers" && kind !== "lines") return null;
  const items = [value].flat();
  const { maxItems } = schema.oneOf?.find((variant) => variant.type === "array") ?? schema;
  if (items.length > maxItems) return `must have at most ${maxItems} items`;
  if (kind === "lines") return items.every((i) => typeof i === "string" && i) ? null : "must be strings that are not empty";
  return items.map((item) => numberViolation(schema.items, item)).find(Boolean) ?? null;
}

function numberViolation(schema, value) {
  if (typeof value !== "number" || Number.isNaN(value)) return "must be a number";
  if (schema.type === "integer" && !Number.isInteger(value)) return "must be an integer";
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum } = schema;
  const isInside =
    !(value < minimum || value > maximum || value <= exclusiveMinimum || value >= exclusiveMaximum);
  return isInside ? null : `must be ${range(schema)}`;
}

function seedViolation(text) {
  if (!/^-?\d+$/.test(text)) return "must be an integer";
  const isInside = BigInt(text) >= SEEDS.minimum && BigInt(text) < SEEDS.exclusiveMaximum;
  return isInside ? null : "must be ≥ −2⁶³, < 2⁶⁴";
}
