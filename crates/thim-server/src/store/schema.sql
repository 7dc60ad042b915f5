-- THIM's store, version 5. SQLite's dialect only here: a PostgreSQL schema differs in BLOB (BYTEA)
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

-- Platforms. What is secret is sealed (`sealing`): manifests and encrypted PPIDs; what identifies one is a keyed
-- hash, so that equal values are found and nothing is learned from a stolen file beyond what certificates say.
CREATE TABLE IF NOT EXISTS platform (
  id              TEXT PRIMARY KEY,   -- 16 hex digits, from the first thing it was known by; never changes
  pce_id          TEXT NOT NULL,      -- 4 upper hex digits
  ppid_hash       TEXT UNIQUE,        -- keyed; NULL until a PCK certificate shows the PPID
  enc_ppid_hash   TEXT,               -- keyed; of the encrypted PPID that is sealed
  manifest_hash   TEXT,               -- keyed
  enc_ppid        BLOB,               -- sealed
  manifest        BLOB,               -- sealed
  fmspc           TEXT,
  ca              TEXT,
  cached_keys     BIGINT,             -- 1, 0, NULL: as the newest certificate says
  state           TEXT NOT NULL,
  cause           TEXT NOT NULL,      -- of the state: a token of docs/doctor.md, or ''
  detail          TEXT NOT NULL,
  since           BIGINT NOT NULL,
  origin          TEXT NOT NULL,      -- 'registered', 'imported' or 'asked' (an open GET)
  registered      BIGINT NOT NULL,
  fetched         BIGINT,             -- when its list last came
  fetched_number  BIGINT NOT NULL DEFAULT 0, -- the highest evaluation number known then
  due             BIGINT              -- when to fetch it next; NULL: never
);
CREATE INDEX IF NOT EXISTS platform_by_fmspc ON platform (fmspc, id);
CREATE INDEX IF NOT EXISTS platform_by_state ON platform (state, id);
CREATE INDEX IF NOT EXISTS platform_by_enc_ppid ON platform (enc_ppid_hash);
CREATE INDEX IF NOT EXISTS platform_by_manifest ON platform (manifest_hash);
CREATE INDEX IF NOT EXISTS platform_by_due ON platform (due);

-- QE ID and PCE ID under which a platform is asked for. `strong`: told with a token; 0: by an open GET.
CREATE TABLE IF NOT EXISTS platform_alias (
  qe_id    TEXT NOT NULL,             -- upper case, 1 to 260 characters
  pce_id   TEXT NOT NULL,
  platform TEXT NOT NULL,
  strong   BIGINT NOT NULL,
  since    BIGINT NOT NULL,
  PRIMARY KEY (qe_id, pce_id)
);
CREATE INDEX IF NOT EXISTS platform_alias_by_platform ON platform_alias (platform);

-- The vendor's answers for a platform: every PCK certificate ever admitted. One row of a TCBm at most is not retired:
-- the one that is served.
CREATE TABLE IF NOT EXISTS pck_certificate (
  platform   TEXT NOT NULL,
  digest     TEXT NOT NULL,           -- SHA-256 of the DER
  tcbm       TEXT NOT NULL,           -- 36 upper hex digits
  pem        BLOB NOT NULL,           -- as received, percent-decoded, with a line feed at the end
  issuer     TEXT NOT NULL,           -- SHA-256 of the issuing certificate
  issuer_key TEXT NOT NULL,           -- SHA-256 of its SubjectPublicKeyInfo
  serial     TEXT NOT NULL,           -- lower hex
  ca         TEXT NOT NULL,
  place      BIGINT NOT NULL,         -- in the newest list that had it, from 0: Intel's selection depends on the order
  not_before BIGINT NOT NULL,
  not_after  BIGINT NOT NULL,
  admitted   BIGINT NOT NULL,
  source     TEXT NOT NULL,
  retired    BIGINT,                  -- since when another of its TCBm is served; of one that came too late, since it came
  revoked    BIGINT,                  -- thisUpdate of the PCK CRL that names it, as last judged
  PRIMARY KEY (platform, digest)
);
CREATE INDEX IF NOT EXISTS pck_certificate_by_serial ON pck_certificate (ca, serial);
CREATE INDEX IF NOT EXISTS pck_certificate_by_issuer ON pck_certificate (issuer_key);

-- Levels of the newest list for which there is no certificate to serve: 'not-available' or 'quarantined'.
CREATE TABLE IF NOT EXISTS pck_gap (
  platform TEXT NOT NULL,
  tcbm     TEXT NOT NULL,
  gap      TEXT NOT NULL,
  why      TEXT NOT NULL,
  PRIMARY KEY (platform, tcbm)
);

-- Raw TCBs a platform was seen with; the oldest make room, those first that open requests alone have brought.
CREATE TABLE IF NOT EXISTS raw_tcb (
  platform TEXT NOT NULL,
  qe_id    TEXT NOT NULL,
  tcb      TEXT NOT NULL,             -- 36 upper hex digits
  first    BIGINT NOT NULL,
  last     BIGINT NOT NULL,
  told     BIGINT NOT NULL DEFAULT 0, -- when a registration or an import last told it; 0: none did
  PRIMARY KEY (platform, qe_id, tcb)
);

-- What a platform's newest genuine quote said, where that is to be recorded; of TEE TCB SVNs, the newest trust domain's.
CREATE TABLE IF NOT EXISTS platform_evidence (
  platform     TEXT PRIMARY KEY,
  tee          TEXT NOT NULL,         -- 'sgx' or 'tdx': whose quoting enclave it was
  qe_isv_svn   BIGINT NOT NULL,
  pck_tcb      TEXT NOT NULL,         -- TCB of the PCK certificate: 36 upper hex digits
  seen         BIGINT NOT NULL,
  tee_tcb_svn  TEXT,                  -- 32 upper hex digits; NULL until a trust domain's quote was seen
  tee_tcb_svn2 TEXT,                  -- NULL where that quote's report has none
  td_seen      BIGINT                 -- when that quote was seen
);

-- A platform's story; the oldest rows make room.
CREATE TABLE IF NOT EXISTS platform_timeline (
  seq      INTEGER PRIMARY KEY AUTOINCREMENT,
  platform TEXT NOT NULL,
  at       BIGINT NOT NULL,
  state    TEXT NOT NULL,
  cause    TEXT NOT NULL,
  text     TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS platform_timeline_by_platform ON platform_timeline (platform, seq);

-- What POST /platforms left for a tool to collect (fill modes req and offline): PCCS's platforms_registered.
CREATE TABLE IF NOT EXISTS registration (
  seq      INTEGER PRIMARY KEY AUTOINCREMENT,
  qe_id    TEXT NOT NULL,
  pce_id   TEXT NOT NULL,
  cpu_svn  TEXT NOT NULL,
  pce_svn  TEXT NOT NULL,
  enc_ppid BLOB,                      -- sealed
  manifest BLOB,                      -- sealed
  state    TEXT NOT NULL,             -- 'new', 'not-available' or 'handed-over'
  at       BIGINT NOT NULL,
  material TEXT NOT NULL DEFAULT '', -- keyed hash that tells those with an all-zero QE id apart; else ''
  UNIQUE (qe_id, pce_id, cpu_svn, pce_svn, material)
);
CREATE INDEX IF NOT EXISTS registration_by_state ON registration (state, seq);

-- Appraisal policies, opaque (PCCS's appraisal_policies).
CREATE TABLE IF NOT EXISTS appraisal_policy (
  id         TEXT PRIMARY KEY,        -- SHA-384 of the text, lower hex
  fmspc      TEXT NOT NULL,
  type       BIGINT NOT NULL,         -- 0 SGX, 1 TDX 1.0, 2 TDX 1.5
  policy     TEXT NOT NULL,
  is_default BIGINT NOT NULL,
  at         BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS appraisal_policy_by_fmspc ON appraisal_policy (fmspc, is_default);

-- Access tokens: a hash, never the token.
CREATE TABLE IF NOT EXISTS token (
  id      TEXT PRIMARY KEY,           -- 16 hex digits: the first of the hash
  hash    TEXT NOT NULL UNIQUE,       -- SHA-256 of the token's text, lower hex
  name    TEXT NOT NULL,
  role    TEXT NOT NULL,
  scopes  TEXT NOT NULL,              -- words joined by spaces; '' is all of the role
  created BIGINT NOT NULL,
  expires BIGINT,
  revoked BIGINT
);

-- Chips of AMD's that a fleet has. A chip id is in every VCEK of its chip, and so in this file in any case.
CREATE TABLE IF NOT EXISTS chip (
  id         TEXT PRIMARY KEY,        -- 16 hex digits of a keyed hash: what events and listings call it
  product    TEXT NOT NULL,
  hw_id      BLOB NOT NULL,           -- 8 or 64 bytes
  label      TEXT NOT NULL,           -- the operator's own name for it, or ''
  reported   TEXT,                    -- TCB it reports, 16 lower hex digits, most significant byte first (tcbm)
  registered BIGINT NOT NULL,
  UNIQUE (product, hw_id)
);

-- Append-only but for `state`: every VCEK and VLEK ever admitted.
CREATE TABLE IF NOT EXISTS endorsement (
  digest     TEXT PRIMARY KEY,        -- SHA-256 of the DER
  kind       TEXT NOT NULL,           -- 'vcek' or 'vlek'
  product    TEXT NOT NULL,
  hw_id      BLOB NOT NULL,           -- of a VLEK: empty
  csp_id     TEXT NOT NULL,           -- of a VCEK: ''
  tcb        TEXT NOT NULL,           -- 16 lower hex digits, most significant byte first (tcbm)
  spki       TEXT NOT NULL,           -- SHA-256 of the SubjectPublicKeyInfo: what it is the certificate of
  issuer     TEXT NOT NULL,           -- SHA-256 of the issuing certificate (ASK, ASVK)
  not_before BIGINT NOT NULL,
  not_after  BIGINT NOT NULL,
  der        BLOB NOT NULL,
  source     TEXT NOT NULL,
  admitted   BIGINT NOT NULL,
  state      TEXT NOT NULL            -- 'current', 'superseded', 'archived' (expired when it came) or 'quarantined'
);
CREATE INDEX IF NOT EXISTS endorsement_by_key ON endorsement (kind, product, hw_id, tcb);
CREATE INDEX IF NOT EXISTS endorsement_by_end ON endorsement (state, not_after);

-- Certificates that an operator wants fetched: of registered chips, and of a TCB that is to come.
CREATE TABLE IF NOT EXISTS wanted_vcek (
  product TEXT NOT NULL,
  hw_id   BLOB NOT NULL,
  tcb     TEXT NOT NULL,
  since   BIGINT NOT NULL,
  due     BIGINT NOT NULL,            -- not asked for before this instant
  tries   BIGINT NOT NULL,
  outcome TEXT NOT NULL,              -- of the last try, one word, or ''
  PRIMARY KEY (product, hw_id, tcb)
);
CREATE INDEX IF NOT EXISTS wanted_vcek_by_due ON wanted_vcek (due);

-- When a key server was last asked for a chip and TCB, for the rule of one request in ten seconds. Rows of calls older
-- than that are removed with the next one.
CREATE TABLE IF NOT EXISTS vcek_call (
  name      TEXT PRIMARY KEY,         -- keyed hash of product, chip id and TCB
  at_millis BIGINT NOT NULL
);

-- Append-only, hash-chained: every act on a baseline (`baseline::acts`). The last hash is in `meta` too (`baseline_head`).
CREATE TABLE IF NOT EXISTS baseline_act (
  seq          INTEGER PRIMARY KEY,   -- from 1, without gaps
  at           BIGINT NOT NULL,
  who          TEXT NOT NULL,
  kind         TEXT NOT NULL,         -- 'draft', 'discard', 'promote', 'withdraw' or 'rollback'
  scope        TEXT NOT NULL,         -- 'default', 'floor', or a tenant's name
  tee          TEXT NOT NULL,         -- 'sgx', 'tdx' or 'sev-snp'
  version      BIGINT NOT NULL,
  rule         TEXT,                  -- canonical JSON, of an act that makes a version
  from_version BIGINT,                -- of a rollback
  effective    BIGINT,                -- of a promotion or rollback
  reason       TEXT NOT NULL,
  forecast     TEXT,                  -- digest of the forecast that was looked at
  dropped      BIGINT,                -- how many platforms drop out by it
  previous     TEXT NOT NULL,         -- hash of the row before; zeros before the first
  hash         TEXT NOT NULL          -- SHA-256 of all of the above
);

-- The highest evaluation number each version of a baseline has reached: it never falls by itself.
CREATE TABLE IF NOT EXISTS baseline_reached (
  scope   TEXT NOT NULL,
  tee     TEXT NOT NULL,
  version BIGINT NOT NULL,            -- 0 where nobody ever acted
  number  BIGINT NOT NULL,
  at      BIGINT NOT NULL,
  PRIMARY KEY (scope, tee, version)
);

-- What is told of, once each; the newest 1,000. Names no platform.
CREATE TABLE IF NOT EXISTS news (
  seq     INTEGER PRIMARY KEY AUTOINCREMENT,
  at      BIGINT NOT NULL,
  type    TEXT NOT NULL,              -- 'org.thim.…'
  dedup   TEXT NOT NULL UNIQUE,       -- what it is told once under; its id is made of it
  subject TEXT NOT NULL,
  text    TEXT NOT NULL,
  data    TEXT NOT NULL               -- a JSON object
);

-- What was told or seen, so that nothing is told twice, also after its row is gone. Some hundred keys a year, and a few for
-- each machine type and each baseline.
CREATE TABLE IF NOT EXISTS news_known (
  key   TEXT PRIMARY KEY,
  value TEXT NOT NULL,
  at    BIGINT NOT NULL
);

-- News that a webhook has not taken yet, in order; a row is removed when it is delivered or given up.
CREATE TABLE IF NOT EXISTS outbox (
  target   TEXT NOT NULL,             -- the webhook's name
  news     BIGINT NOT NULL,
  attempts BIGINT NOT NULL,
  refused  BIGINT NOT NULL,           -- of these, those that were answered by a refusal
  due      BIGINT NOT NULL,           -- not tried before this instant
  PRIMARY KEY (target, news)
);

-- Webhooks that answered 410: they are asked nothing more, under this URL.
CREATE TABLE IF NOT EXISTS webhook_gone (
  target TEXT PRIMARY KEY,
  url    TEXT NOT NULL,               -- SHA-256 of the URL, lower hex
  at     BIGINT NOT NULL
);
