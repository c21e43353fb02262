// Reads a row of layout msgpack by the documented keyspace alone (docs/keyspace.md): plain Node, no packages.

const TO_1970 = 62135596800000000n // microseconds, from the beginning of the year 1
const DAY = 86400000000n

// Event timestamp and values of a row, null for a tombstone: { eventTimestamp, values }
//   stored    Buffer, the string at the key
//   features  [{ name, encoding }] of the schema, in its order
export function rowOf(stored, features) {
  if (stored[21] & 1) return null
  const cursor = { stored, at: 22 }
  // A row from before a feature was added ends earlier.
  const values = features.map(() => (cursor.at < stored.length ? next(cursor) : null))
  return {
    eventTimestamp: read('instant', stored.readBigUInt64BE(4) - 1n),
    values: Object.fromEntries(features.map(({ name, encoding }, i) => [name, read(encoding, values[i])])),
  }
}

// The MessagePack value at the cursor, which moves behind it.
function next(cursor) {
  const take = (size) => cursor.stored.subarray(cursor.at, (cursor.at += size))
  const length = (first) => take(1 << (head - first)).reduce((sum, byte) => sum * 256 + byte, 0)
  const [head] = take(1)
  if (head < 0x80) return head
  if (head >= 0xe0) return head - 0x100
  if (head < 0xc0) return take(head - 0xa0).toString()
  if (head === 0xc0) return null
  if (head <= 0xc3) return head === 0xc3
  if (head <= 0xc6) return take(length(0xc4))
  if (head <= 0xc9) return ((size) => numbers(take(1)[0], take(size)))(length(0xc7))
  if (head === 0xca) return take(4).readFloatBE()
  if (head === 0xcb) return take(8).readDoubleBE()
  if (head <= 0xcf) return head === 0xcf ? integer(take(8).readBigUInt64BE()) : length(0xcc)
  if (head <= 0xd3) return integer(BigInt.asIntN(8 << (head - 0xd0), BigInt(`0x${take(1 << (head - 0xd0)).toString('hex')}`)))
  return take(length(0xd9)).toString()
}

// The numbers of an array, by its extension type.
function numbers(type, data) {
  const view = new DataView(data.buffer, data.byteOffset, data.length)
  const [size, get] = [
    [2, (at) => view.getInt16(at, true)],
    [4, (at) => view.getInt32(at, true)],
    [8, (at) => integer(view.getBigInt64(at, true))],
    [2, (at) => shortest(half(view.getUint16(at, true)))],
    [4, (at) => shortest(view.getFloat32(at, true))],
    [8, (at) => view.getFloat64(at, true)],
  ][type - 1]
  return Array.from({ length: data.length / size }, (_, i) => get(i * size))
}

function half(bits) {
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023]
  if (exponent === 31) return fraction ? NaN : sign * Infinity
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction)
}

// The shortest decimal of a number of 32 bits, which is what Postgres prints.
function shortest(number) {
  const digits = [1, 2, 3, 4, 5, 6, 7, 8, 9].find((n) => Math.fround(number.toPrecision(n)) === number)
  return digits ? Number(number.toPrecision(digits)) || number : number
}

// A number, or a BigInt where a number would lose digits.
export function integer(big) {
  const number = Number(big)
  return Number.isSafeInteger(number) ? number : big
}

// A value as the text layouts have it: times and exact decimals as text.
function read(encoding, value) {
  if (Buffer.isBuffer(value) && encoding === 'text') {
    return value.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
  }
  if (typeof value === 'string' && (encoding === 'json' || encoding === 'vector')) return parseJson(value)
  if (typeof value === 'string' || value === null) return value
  if (encoding === 'date') return time(BigInt(value) * DAY).slice(0, 10)
  if (encoding === 'timestamp') return time(BigInt(value))
  return encoding === 'instant' ? `${time(BigInt(value))}Z` : value
}

// ISO 8601 with microseconds.
function time(microseconds) {
  const milliseconds = new Date(Number((microseconds - TO_1970 - (microseconds % 1000n)) / 1000n)).toISOString().slice(0, -1)
  return milliseconds + String(microseconds % 1000n).padStart(3, '0')
}

// JSON.parse, but integers keep all their digits.
export function parseJson(text) {
  return JSON.parse(text, (_, value, { source }) =>
    typeof value === 'number' && /^-?\d+$/.test(source) && !Object.is(value, -0) ? integer(BigInt(source)) : value,
  )
}
