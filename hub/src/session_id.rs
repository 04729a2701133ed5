//! Session ids: random ones for a single process, and sealed ones that say who owns the session.
//!
//! A sealed id is base64url of: key id (4 bytes, in clear) | nonce (12) | AES-256-GCM of { random (16), start nonce (8), owner }.
//! Whoever has the key finds the owner; nobody else can read or make one. The key id only says which key to try.
//! Knows no session table and does no IO besides the system's random numbers.

use std::net::{IpAddr, SocketAddr};

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

const KEY_ID: usize = 4;
const NONCE: usize = 12;
const TAG: usize = 16;
const RANDOM: usize = 16;
const START: usize = 8;
/// What separates a seal from a forwarding mark, which is made with the same key.
const SEAL: &[u8] = b"hubcheck session";
const MARK: &[u8] = b"hubcheck forwarded ";
const NOTE: &[u8] = b"hubcheck note ";

/// Which run of a process: a new process at the same address has another one.
pub type StartNonce = [u8; START];

/// Why a session key cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    /// Neither 32 encoded bytes nor a long enough text.
    #[error("is too short: give 32 random bytes as base64 or hex (openssl rand -base64 32)")]
    TooShort,
}

/// `N` random bytes of the operating system.
///
/// # Panics
/// When the system has no random numbers: then there are no safe session ids either.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system has random numbers");
    bytes
}

/// Who owns the session of a sealed id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Where other replicas reach it.
    pub address: SocketAddr,
    /// Which process at that address.
    pub start: StartNonce,
    /// Which of our keys opened the id: a mark for the owner is made with the same one.
    key: usize,
}

/// What an id turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Opened {
    /// Sealed with a key of ours.
    Owner(Owner),
    /// Looks sealed, with a key that is not ours; its id in hex.
    UnknownKey(String),
    /// Nothing that we made.
    Foreign,
}

struct Key {
    id: [u8; KEY_ID],
    cipher: Aes256Gcm,
}

impl Key {
    fn new(secret: &[u8; 32]) -> Self {
        let id = Sha256::new().chain_update(b"hubcheck key id").chain_update(secret).finalize();
        let sealing = Sha256::new().chain_update(b"hubcheck sealing key").chain_update(secret).finalize();
        Self { id: [id[0], id[1], id[2], id[3]], cipher: Aes256Gcm::new(&sealing) }
    }

    fn parse(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let decoded = [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD]
            .into_iter()
            .find_map(|engine| engine.decode(text).ok().filter(|bytes| bytes.len() == 32))
            .or_else(|| from_hex(text));
        match decoded.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()) {
            Some(secret) => Ok(Self::new(&secret)),
            None if text.len() >= 32 => Ok(Self::new(&Sha256::digest(text.as_bytes()).into())),
            None => Err(KeyError::TooShort),
        }
    }

    /// `nonce | ciphertext | tag`, base64url, after `prefix`.
    fn encrypt(&self, prefix: &[u8], msg: &[u8], aad: &[u8]) -> String {
        let nonce = random::<NONCE>();
        let sealed = self
            .cipher
            .encrypt(&nonce.into(), Payload { msg, aad })
            .expect("a short message can always be sealed");
        URL_SAFE_NO_PAD.encode([prefix, &nonce, &sealed].concat())
    }

    fn decrypt(&self, nonce_and_sealed: &[u8], aad: &[u8]) -> Option<Vec<u8>> {
        let (nonce, msg) = nonce_and_sealed.split_first_chunk::<NONCE>()?;
        self.cipher.decrypt(&(*nonce).into(), Payload { msg, aad }).ok()
    }
}

/// The keys that open ids; the first one also seals.
pub struct Keyring(Vec<Key>);

impl Keyring {
    /// From `SESSION_KEY`: base64 or hex of 32 bytes, or any text of at least 32 bytes.
    ///
    /// # Errors
    /// When the text is too short to be a key.
    pub fn parse(current: &str) -> Result<Self, KeyError> {
        Ok(Self(vec![Key::parse(current)?]))
    }

    /// Adds a key that only opens ids, as `SESSION_KEY_PREVIOUS` does during rotation.
    ///
    /// # Errors
    /// When the text is too short to be a key.
    pub fn with_previous(mut self, previous: &str) -> Result<Self, KeyError> {
        self.0.push(Key::parse(previous)?);
        Ok(self)
    }

    /// A random key: only this process opens its ids.
    pub fn ephemeral() -> Self {
        Self(vec![Key::new(&random())])
    }

    /// A new id of a session that `address` owns.
    pub fn seal(&self, address: SocketAddr, start: StartNonce) -> String {
        let mut owner = Vec::with_capacity(RANDOM + START + 18);
        owner.extend(random::<RANDOM>());
        owner.extend(start);
        match address.ip() {
            IpAddr::V4(ip) => owner.extend(ip.octets()),
            IpAddr::V6(ip) => owner.extend(ip.octets()),
        }
        owner.extend(address.port().to_be_bytes());
        self.0[0].encrypt(&self.0[0].id, &owner, SEAL)
    }

    /// Reads an id.
    pub fn open(&self, id: &str) -> Opened {
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(id) else {
            return Opened::Foreign;
        };
        let sizes = [4, 16].map(|ip| KEY_ID + NONCE + RANDOM + START + ip + 2 + TAG);
        let Some((key_id, sealed)) =
            bytes.split_first_chunk::<KEY_ID>().filter(|_| sizes.contains(&bytes.len()))
        else {
            return Opened::Foreign;
        };
        let Some(key) = self.0.iter().position(|key| &key.id == key_id) else {
            return Opened::UnknownKey(key_id.iter().map(|byte| format!("{byte:02x}")).collect());
        };
        match self.0[key].decrypt(sealed, SEAL).and_then(|owner| owner_from(&owner)) {
            Some((address, start)) => Opened::Owner(Owner { address, start, key }),
            None => Opened::Foreign,
        }
    }

    /// What a forwarded request carries, so that it is not forwarded again. Only replicas can make one.
    pub fn mark(&self, id: &str, owner: &Owner) -> String {
        self.0[owner.key].encrypt(&[], &[], &[MARK, id.as_bytes()].concat())
    }

    /// Whether `mark` was made by a replica for `id`.
    pub fn is_mark(&self, id: &str, mark: &str) -> bool {
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(mark) else {
            return false;
        };
        let aad = [MARK, id.as_bytes()].concat();
        self.0.iter().any(|key| key.decrypt(&bytes, &aad).is_some())
    }

    /// Seals a note that a client carries, for any replica to read later; `what` says what it is about.
    pub fn seal_note(&self, what: &str, note: &[u8]) -> String {
        self.0[0].encrypt(&[], note, &[NOTE, what.as_bytes()].concat())
    }

    /// Reads a note about `what`; `None` when no replica made it, or it was changed.
    pub fn open_note(&self, what: &str, sealed: &str) -> Option<Vec<u8>> {
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let aad = [NOTE, what.as_bytes()].concat();
        self.0.iter().find_map(|key| key.decrypt(&bytes, &aad))
    }
}

/// A random id for a session that only this process knows.
pub fn plain() -> String {
    random::<16>().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether `id` could be a session id of anybody: what is not is a client's mistake, not a lost session.
pub fn is_plausible(id: &str) -> bool {
    (16..=512).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn owner_from(bytes: &[u8]) -> Option<(SocketAddr, StartNonce)> {
    let (start, address) = bytes.get(RANDOM..)?.split_first_chunk::<START>()?;
    let (ip, port) = address.split_last_chunk::<2>()?;
    let ip = match ip.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(ip).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(ip).ok()?),
    };
    Some((SocketAddr::new(ip, u16::from_be_bytes(*port)), *start))
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    (0..32).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "an old key of at least 32 characters";
    const OTHER: &str = "another key of at least 32 characters";

    fn owner() -> (SocketAddr, StartNonce) {
        ("10.1.2.3:8000".parse().unwrap(), [7; START])
    }

    fn opened(keyring: &Keyring, id: &str) -> Option<(SocketAddr, StartNonce)> {
        match keyring.open(id) {
            Opened::Owner(owner) => Some((owner.address, owner.start)),
            _ => None,
        }
    }

    #[test]
    fn a_sealed_id_names_its_owner_and_is_never_the_same_twice() {
        let keyring = Keyring::parse(KEY).unwrap();
        for address in ["10.1.2.3:8000", "[2001:db8::1]:65535"] {
            let address = address.parse().unwrap();
            let id = keyring.seal(address, [9; START]);
            assert_eq!(opened(&keyring, &id), Some((address, [9; START])));
            assert_ne!(keyring.seal(address, [9; START]), id);
            assert!(is_plausible(&id));
        }
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let keyring = Keyring::parse(KEY).unwrap();
        let id = keyring.seal(owner().0, owner().1);
        for at in 0..id.len() {
            let mut changed = id.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(opened(&keyring, &changed), None, "character {at}");
        }
        assert_eq!(keyring.open(&id[..id.len() - 1]), Opened::Foreign);
        assert_eq!(keyring.open("550e8400-e29b-41d4-a716-446655440000"), Opened::Foreign);
        assert_eq!(keyring.open(""), Opened::Foreign);
    }

    #[test]
    fn an_id_of_another_key_says_which() {
        let id = Keyring::parse(OTHER).unwrap().seal(owner().0, owner().1);
        let Opened::UnknownKey(key) = Keyring::parse(KEY).unwrap().open(&id) else { panic!("opened") };
        assert_eq!(key.len(), 8);
        let rotated = Keyring::parse(KEY).unwrap().with_previous(OTHER).unwrap();
        assert_eq!(opened(&rotated, &id), Some(owner()));
    }

    #[test]
    fn a_mark_is_for_one_id_and_needs_the_key() {
        let keyring = Keyring::parse(KEY).unwrap();
        let id = keyring.seal(owner().0, owner().1);
        let Opened::Owner(of) = keyring.open(&id) else { panic!("not opened") };
        let mark = keyring.mark(&id, &of);
        assert!(keyring.is_mark(&id, &mark));
        assert!(!keyring.is_mark(&keyring.seal(owner().0, owner().1), &mark));
        assert!(!Keyring::parse(OTHER).unwrap().is_mark(&id, &mark));
        assert!(!keyring.is_mark(&id, ""));
        assert!(!keyring.is_mark(&id, "1"));
    }

    #[test]
    fn the_same_key_in_any_spelling_is_the_same_key() {
        let bytes = [0xfb_u8; 32];
        let spellings = [
            STANDARD.encode(bytes),
            URL_SAFE_NO_PAD.encode(bytes),
            "fb".repeat(32),
            format!("{}\n", STANDARD.encode(bytes)),
        ];
        let id = Keyring::parse(&spellings[0]).unwrap().seal(owner().0, owner().1);
        for spelling in &spellings {
            assert_eq!(opened(&Keyring::parse(spelling).unwrap(), &id), Some(owner()), "{spelling}");
        }
        assert_eq!(Keyring::parse("short").err(), Some(KeyError::TooShort));
        assert_eq!(Keyring::parse("").err(), Some(KeyError::TooShort));
    }
}
