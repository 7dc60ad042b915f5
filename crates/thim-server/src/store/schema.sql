-- THIM's store, version 1. SQLite's dialect only here: a PostgreSQL schema differs in BLOB (BYTEA)
-- and in how `seq` numbers itself; every other statement of the store is common SQL.
-- Times are whole seconds since 1970 UTC unless a name ends in _millis.

CREATE TABLE IF NOT EXISTS meta (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
);

-- Append-only: one row for each signed version of an artefact.
CREATE TABLE IF NOT EXISTS edition (
  id              TEXT PRIMARY KEY,   -- SHA-256 of the signed bytes, lower hex
  artefact        TEXT NOT NULL,      -- the key
  kind            TEXT NOT NULL,
  issued          BIGINT NOT NULL,
  next_update     BIGINT NOT NULL,
  signer_key      TEXT NOT NULL,      -- SHA-256 of the signer's SubjectPublicKeyInfo
  chain           TEXT NOT NULL,      -- SHA-256 of the issuing certificate, or '' for the root CRL
  document        BLOB NOT NULL,      -- as served
  document_bytes  BIGINT NOT NULL,
  revoked_entries BIGINT,             -- CRLs only
  source          TEXT NOT NULL,
  called          TEXT,               -- 'standard' or 'early' where the source said so
  fetched         BIGINT NOT NULL,
  admitted        BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS edition_by_artefact ON edition (artefact, issued);
CREATE INDEX IF NOT EXISTS edition_by_admission ON edition (admitted);

-- Append-only: every change of state.
CREATE TABLE IF NOT EXISTS transition (
  seq     INTEGER PRIMARY KEY AUTOINCREMENT,
  edition TEXT NOT NULL,
  at      BIGINT NOT NULL,
  state   TEXT NOT NULL,
  cause   TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS transition_by_edition ON transition (edition, seq);

-- The newest transition of each edition, written with it, and what its revocation check rests on.
CREATE TABLE IF NOT EXISTS standing (
  edition  TEXT PRIMARY KEY,
  artefact TEXT NOT NULL,
  state    TEXT NOT NULL,
  since    BIGINT NOT NULL,
  root_crl BIGINT                     -- thisUpdate of the root CRL it was checked against; NULL: unchecked
);
CREATE INDEX IF NOT EXISTS standing_by_artefact ON standing (artefact, state);
CREATE INDEX IF NOT EXISTS standing_by_state ON standing (state);

CREATE TABLE IF NOT EXISTS certificate (
  digest     TEXT PRIMARY KEY,
  der        BLOB NOT NULL,
  first_seen BIGINT NOT NULL
);

CREATE TABLE IF NOT EXISTS event (
  seq      INTEGER PRIMARY KEY AUTOINCREMENT,
  at       BIGINT NOT NULL,
  name     TEXT NOT NULL,
  severity TEXT NOT NULL,
  artefact TEXT,
  edition  TEXT,
  text     TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS event_by_artefact ON event (artefact, seq);

-- What failed, for people to look at; the oldest rows make room.
CREATE TABLE IF NOT EXISTS quarantine (
  seq      INTEGER PRIMARY KEY AUTOINCREMENT,
  at       BIGINT NOT NULL,
  source   TEXT NOT NULL,
  artefact TEXT,
  reason   TEXT NOT NULL,
  digest   TEXT NOT NULL,
  body     BLOB NOT NULL
);

-- When an upstream last answered for a key with what is held.
CREATE TABLE IF NOT EXISTS confirmation (
  artefact TEXT PRIMARY KEY,
  at       BIGINT NOT NULL,
  source   TEXT NOT NULL
);

-- Which number a source last called standard or early, where no list tells.
CREATE TABLE IF NOT EXISTS called (
  subject TEXT NOT NULL,
  choice  TEXT NOT NULL,
  number  BIGINT NOT NULL,
  at      BIGINT NOT NULL,
  PRIMARY KEY (subject, choice)
);

-- What an upstream may be asked next, so that a restart exceeds no budget.
CREATE TABLE IF NOT EXISTS budget (
  upstream          TEXT PRIMARY KEY,
  arrival_millis    BIGINT NOT NULL,  -- theoretical arrival time of the generic cell rate algorithm
  not_before_millis BIGINT NOT NULL   -- the upstream's Retry-After
);
