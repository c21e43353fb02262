// Online features in Node, by the documented keyspace alone (docs/keyspace.md). Node 22 or newer, npm package "redis".

const NEEDED = 22 // of Node: before, JSON.parse does not tell the digits of a number
if (Number(process.versions.node.split('.')[0]) < NEEDED) {
  throw new Error(`reading.mjs needs Node ${NEEDED} or newer, and this is ${process.versions.node}`)
}

const STATE_FIELDS = ['schema_fingerprint', 'layout', 'watermark']

export class FeatureReader {
  #client
  #known = new Map() // name of a view -> what its rows look like

  // client: of createClient() from "redis", connected
  constructor(client) {
    this.#client = client
  }

  // The rows of entities, null where there is none, and the watermark: { watermark, rows: [{ eventTimestamp, values }] }
  //   view      '<project>:<view>'
  //   entities  [{ joinKey: value }]
  async read(view, entities) {
    let known = this.#known.get(view) ?? (await this.#learn(view))
    while (known) {
      // Sent in one round trip; the state comes first, so that the rows are at least as fresh as the watermark says.
      const state = this.#client.hmGet(stateKey(view), STATE_FIELDS)
      const rows = Promise.allSettled(entities.map((entity) => this.#row(view, known, entity)))
      const [fingerprint, layout, watermark] = await state
      if (fingerprint === known.schema_fingerprint && layout === known.layout) {
        return { watermark, rows: (await rows).map(valueOrThrow) }
      }
      known = await this.#learn(view) // a run has changed the view
    }
    return { watermark: null, rows: entities.map(() => null) }
  }

  // Types and layout of the view; null when nothing of it is online.
  async #learn(view) {
    const [schema_fingerprint, layout, schema] = await this.#client.hmGet(stateKey(view), [
      'schema_fingerprint', 'layout', 'schema',
    ])
    if (![null, 'hash', 'json'].includes(layout)) throw new Error(`${view} has layout ${layout}`)
    const known = schema && { schema_fingerprint, layout, ...JSON.parse(schema) }
    this.#known.set(view, known)
    return known
  }

  async #row(view, { keys, features, layout }, entity) {
    const key = [view, ...keys.map(({ name }) => escape(entity[name]))].join(':')
    if (layout === 'json') {
      const row = parseJson(await this.#client.get(key))
      return row && { eventTimestamp: row._ts, values: byName(features, ({ name, encoding }) => fromJson(encoding, row[name])) }
    }
    const names = features.map(({ name }) => name)
    const [eventTimestamp, ...texts] = await this.#client.hmGet(key, ['_ts', ...names])
    return eventTimestamp && { eventTimestamp, values: byName(features, ({ encoding }, i) => fromText(encoding, texts[i])) }
  }
}

function stateKey(view) {
  return `@online_features:view:{${view}}`
}

// A join key as part of a key. Integers, texts, uuids in lower case and booleans are as String() writes them.
function escape(value) {
  return String(value).replace(/[%:{}]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`)
}

function byName(features, valueOf) {
  return Object.fromEntries(features.map((feature, i) => [feature.name, valueOf(feature, i)]))
}

// Exact decimals, dates, times and intervals stay texts: JavaScript has no type that holds them all.
function fromText(encoding, text) {
  if (text === null) return null
  switch (encoding) {
    case 'boolean':
      return text === 'true'
    case 'integer':
      return integer(text)
    case 'float':
      return float(text)
    case 'base64':
      return Buffer.from(text, 'base64')
    case 'json':
      return parseJson(text)
    default:
      return text
  }
}

// In layout json, booleans, numbers and JSON stand as such; the rest are the texts of their encodings.
function fromJson(encoding, value) {
  if (value === null) return null
  if (encoding === 'float') return float(value)
  return typeof value === 'string' && encoding !== 'json' ? fromText(encoding, value) : value
}

function float(value) {
  return { nan: NaN, inf: Infinity, '-inf': -Infinity }[value] ?? Number(value)
}

// A number, or a BigInt where a number would lose digits.
function integer(digits) {
  const number = Number(digits)
  return Number.isSafeInteger(number) ? number : BigInt(digits)
}

// JSON.parse, but integers keep all their digits.
function parseJson(text) {
  return JSON.parse(text, (_, value, { source }) =>
    typeof value === 'number' && /^-?\d+$/.test(source) ? integer(source) : value,
  )
}

function valueOrThrow({ status, value, reason }) {
  if (status === 'rejected') throw reason
  return value
}
