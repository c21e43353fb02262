// Online features in Node, by the documented keyspace alone (docs/keyspace.md). Node 22 or newer, npm package "redis".

import { RESP_TYPES } from 'redis'

import { integer, parseJson, rowOf } from './msgpack_row.mjs'

const NEEDED = 22 // of Node: before, JSON.parse does not tell the digits of a number
if (Number(process.versions.node.split('.')[0]) < NEEDED) {
  throw new Error(`reading.mjs needs Node ${NEEDED} or newer, and this is ${process.versions.node}`)
}

const STATE_FIELDS = ['schema_fingerprint', 'layout', 'watermark']
const LAYOUTS = ['msgpack', 'hash', 'json']

export class FeatureReader {
  #client
  #binary // the same client, for replies that are bytes
  #known = new Map() // name of a view -> the generation that is published, and what its rows look like

  // client: of createClient() from "redis", connected
  constructor(client) {
    this.#client = client
    this.#binary = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer })
  }

  // The rows of entities, null where there is none, and the watermark: { watermark, rows: [{ eventTimestamp, values }] }
  //   view      '<project>:<view>'
  //   entities  [{ joinKey: value }]
  async read(view, entities) {
    let known = this.#known.get(view) ?? (await this.#learn(view))
    while (known) {
      // Sent in one round trip; the state comes first, so that the rows are at least as fresh as the watermark says.
      const published = this.#published(view)
      const state = this.#client.hmGet(stateKey(view, known.generation), STATE_FIELDS)
      const rows = Promise.allSettled(entities.map((entity) => this.#row(view, known, entity)))
      const [generation, [fingerprint, layout, watermark]] = await Promise.all([published, state])
      if (generation === known.generation && fingerprint === known.schema_fingerprint && layout === known.layout) {
        return { watermark, rows: (await rows).map(valueOrThrow) }
      }
      known = await this.#learn(view) // another generation has been published, or a push has changed the view
    }
    return { watermark: null, rows: entities.map(() => null) }
  }

  // The generation that is published; '0' when pushes alone have written.
  async #published(view) {
    const [project, name] = view.split(':')
    const pointer = await this.#client.hGet(`@online_features:published:{${project}}`, name)
    return pointer?.split(' ')[0] ?? '0'
  }

  // Generation, types and layout of the view; null when nothing of it is online.
  async #learn(view) {
    const generation = await this.#published(view)
    const [schema_fingerprint, layout, schema] = await this.#client.hmGet(stateKey(view, generation), [
      'schema_fingerprint', 'layout', 'schema',
    ])
    if (layout !== null && !LAYOUTS.includes(layout)) throw new Error(`${view} has layout ${layout}`)
    const known = schema && { generation, schema_fingerprint, layout, ...JSON.parse(schema) }
    this.#known.set(view, known)
    return known
  }

  async #row(view, { generation, keys, features, layout }, entity) {
    const key = `${view}:${generation}:{${keys.map(({ name }) => escape(entity[name])).join(':')}}`
    if (layout === 'msgpack') {
      const stored = await this.#binary.get(key)
      return stored && rowOf(stored, features)
    }
    if (layout === 'json') {
      const row = parseJson(await this.#client.get(key))
      if (row === null || row._flags & 1) return null // a tombstone
      return { eventTimestamp: row._ts, values: byName(features, ({ name, encoding }) => fromJson(encoding, row[name] ?? null)) }
    }
    const names = features.map(({ name }) => name)
    const [eventTimestamp, ...texts] = await this.#client.hmGet(key, ['_ts', ...names])
    return eventTimestamp && { eventTimestamp, values: byName(features, ({ encoding }, i) => fromText(encoding, texts[i])) }
  }
}

function stateKey(view, generation) {
  const [project, name] = view.split(':')
  return `@online_features:generation:{${project}}:${name}:${generation}`
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
      return integer(BigInt(text))
    case 'float':
      return float(text)
    case 'base64':
      return Buffer.from(text, 'base64')
    case 'json':
    case 'vector':
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

function valueOrThrow({ status, value, reason }) {
  if (status === 'rejected') throw reason
  return value
}
