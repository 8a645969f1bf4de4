//! Keys of other issuers: read from their JSON Web Key Sets (RFC 7517), and used to verify what
//! they signed (RFC 7518, RFC 8037). Only signatures of public keys: whoever can verify a token
//! must not be able to write one. OpenSSL does the mathematics.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use openssl::{
    bn::BigNum,
    ec::{EcGroup, EcKey},
    ecdsa::EcdsaSig,
    error::ErrorStack,
    hash::MessageDigest,
    nid::Nid,
    pkey::{Id, PKey, Public},
    rsa::{Padding, Rsa},
    sign::{RsaPssSaltlen, Verifier},
};
use serde::{Deserialize, Serialize};

/// Keys of one set that are looked at.
const MOST: usize = 100;
/// Sizes of RSA keys, in bits: the smallest that is no longer broken, and the largest that is worth
/// its time.
const RSA_BITS: std::ops::RangeInclusive<i32> = 2_048..=8_192;

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Algorithm {
    /// RSA, PKCS #1 1.5.
    RS256,
    /// The same with SHA-384.
    RS384,
    /// The same with SHA-512.
    RS512,
    /// RSA-PSS.
    PS256,
    /// The same with SHA-384.
    PS384,
    /// The same with SHA-512.
    PS512,
    /// ECDSA on P-256.
    ES256,
    /// ECDSA on P-384.
    ES384,
    /// ECDSA on P-521.
    ES512,
    /// Ed25519.
    #[serde(alias = "Ed25519")]
    EdDSA,
}

/// What kind of key verifies a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    P521,
    Ed25519,
}

impl Algorithm {
    /// Every one.
    pub(crate) const ALL: [Self; 10] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::ES512,
        Self::EdDSA,
    ];

    /// The one that tokens name so.
    pub(super) fn named(name: &str) -> Option<Self> {
        serde_json::from_value(name.into()).ok()
    }

    const fn kind(self) -> Kind {
        match self {
            Self::RS256 | Self::RS384 | Self::RS512 | Self::PS256 | Self::PS384 | Self::PS512 => {
                Kind::Rsa
            }
            Self::ES256 => Kind::P256,
            Self::ES384 => Kind::P384,
            Self::ES512 => Kind::P521,
            Self::EdDSA => Kind::Ed25519,
        }
    }

    fn digest(self) -> MessageDigest {
        match self {
            Self::RS256 | Self::PS256 | Self::ES256 => MessageDigest::sha256(),
            Self::RS384 | Self::PS384 | Self::ES384 => MessageDigest::sha384(),
            Self::RS512 | Self::PS512 | Self::ES512 | Self::EdDSA => MessageDigest::sha512(),
        }
    }

    const fn is_pss(self) -> bool {
        matches!(self, Self::PS256 | Self::PS384 | Self::PS512)
    }
}

impl Kind {
    /// The curve, and the bytes of one number of a signature.
    const fn curve(self) -> Option<(Nid, usize)> {
        match self {
            Self::P256 => Some((Nid::X9_62_PRIME256V1, 32)),
            Self::P384 => Some((Nid::SECP384R1, 48)),
            Self::P521 => Some((Nid::SECP521R1, 66)),
            Self::Rsa | Self::Ed25519 => None,
        }
    }
}

/// A key that verifies.
pub(super) struct Key {
    pub(super) id: Option<String>,
    /// The only algorithm it is for, where its owner says so.
    algorithm: Option<Algorithm>,
    kind: Kind,
    public: PKey<Public>,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// The keys of a set, without those that verify nothing that is listened to here. None where it is
/// no set.
pub(super) fn read(document: &[u8]) -> Option<Vec<Key>> {
    let set: Set = serde_json::from_slice(document).ok()?;
    let keys = set.keys.into_iter().take(MOST);
    Some(keys.filter_map(|key| Key::read(serde_json::from_value(key).ok()?)).collect())
}

impl Key {
    fn read(jwk: Jwk) -> Option<Self> {
        let signs = jwk.usage.as_deref().is_none_or(|usage| usage == "sig");
        let verifies = |ops: &Vec<String>| ops.iter().any(|op| op == "verify");
        if !signs || !jwk.key_ops.as_ref().is_none_or(verifies) {
            return None;
        }
        let algorithm = match &jwk.alg {
            None => None,
            Some(name) => Some(Algorithm::named(name)?),
        };
        let (kind, public) = jwk.public()?;
        Some(Self { id: jwk.kid, algorithm, kind, public })
    }

    /// Whether it is one that an algorithm takes.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        self.kind == algorithm.kind() && self.algorithm.is_none_or(|only| only == algorithm)
    }

    /// Whether it made this signature under this text.
    pub(super) fn has_signed(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        self.fits(algorithm) && self.verify(algorithm, signed, signature).unwrap_or(false)
    }

    fn verify(
        &self,
        algorithm: Algorithm,
        signed: &[u8],
        signature: &[u8],
    ) -> Result<bool, ErrorStack> {
        if self.kind == Kind::Ed25519 {
            return Verifier::new_without_digest(&self.public)?.verify_oneshot(signature, signed);
        }
        let mut verifier = Verifier::new(algorithm.digest(), &self.public)?;
        if algorithm.is_pss() {
            verifier.set_rsa_padding(Padding::PKCS1_PSS)?;
            verifier.set_rsa_mgf1_md(algorithm.digest())?;
            verifier.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
        }
        let Some((_, bytes)) = self.kind.curve() else {
            return verifier.verify_oneshot(signature, signed);
        };
        if signature.len() != 2 * bytes {
            return Ok(false);
        }
        let (r, s) = signature.split_at(bytes);
        let (r, s) = (BigNum::from_slice(r)?, BigNum::from_slice(s)?);
        let der = EcdsaSig::from_private_components(r, s)?.to_der()?;
        verifier.verify_oneshot(&der, signed)
    }
}

impl Jwk {
    fn public(&self) -> Option<(Kind, PKey<Public>)> {
        match (&*self.kty, self.crv.as_deref()) {
            ("RSA", _) => Some((Kind::Rsa, rsa(self.n.as_deref(), self.e.as_deref())?)),
            ("EC", Some("P-256")) => self.on_curve(Kind::P256),
            ("EC", Some("P-384")) => self.on_curve(Kind::P384),
            ("EC", Some("P-521")) => self.on_curve(Kind::P521),
            ("OKP", Some("Ed25519")) => {
                let raw = bytes(self.x.as_deref())?;
                let public = PKey::public_key_from_raw_bytes(&raw, Id::ED25519).ok()?;
                Some((Kind::Ed25519, public))
            }
            _ => None,
        }
    }

    fn on_curve(&self, kind: Kind) -> Option<(Kind, PKey<Public>)> {
        let (curve, _) = kind.curve()?;
        let group = EcGroup::from_curve_name(curve).ok()?;
        let (x, y) = (number(self.x.as_deref())?, number(self.y.as_deref())?);
        // It checks that the point lies on the curve.
        let key = EcKey::from_public_key_affine_coordinates(&group, &x, &y).ok()?;
        Some((kind, PKey::from_ec_key(key).ok()?))
    }
}

fn rsa(n: Option<&str>, e: Option<&str>) -> Option<PKey<Public>> {
    let (n, e) = (number(n)?, number(e)?);
    // A small or even exponent verifies what nobody signed; a long one takes long.
    let is_sound = RSA_BITS.contains(&n.num_bits()) && (2..=33).contains(&e.num_bits());
    let is_odd = e.is_bit_set(0) && n.is_bit_set(0);
    if !is_sound || !is_odd {
        return None;
    }
    PKey::from_rsa(Rsa::from_public_components(n, e).ok()?).ok()
}

fn bytes(text: Option<&str>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text?).ok()
}

fn number(text: Option<&str>) -> Option<BigNum> {
    BigNum::from_slice(&bytes(text)?).ok()
}

#[cfg(test)]
pub(super) mod tests {
    use openssl::{pkey::Private, sign::Signer};
    use serde_json::{Value, json};

    use super::*;

    /// A key pair, and its public half as an issuer publishes it.
    pub(in crate::access) struct Pair {
        pub(in crate::access) algorithm: Algorithm,
        pub(in crate::access) jwk: Value,
        private: PKey<Private>,
    }

    fn text(bytes: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    impl Pair {
        pub(in crate::access) fn new(algorithm: Algorithm, id: &str) -> Self {
            let (private, mut jwk) = match algorithm.kind() {
                Kind::Rsa => {
                    let rsa = Rsa::generate(2_048).expect("a key");
                    let (n, e) = (text(&rsa.n().to_vec()), text(&rsa.e().to_vec()));
                    let jwk = json!({"kty": "RSA", "n": n, "e": e});
                    (PKey::from_rsa(rsa).expect("a key"), jwk)
                }
                Kind::Ed25519 => {
                    let private = PKey::generate_ed25519().expect("a key");
                    let x = text(&private.raw_public_key().expect("bytes"));
                    (private, json!({"kty": "OKP", "crv": "Ed25519", "x": x}))
                }
                curved => {
                    let (curve, bytes) = curved.curve().expect("a curve");
                    let group = EcGroup::from_curve_name(curve).expect("a curve");
                    let key = EcKey::generate(&group).expect("a key");
                    let mut context = openssl::bn::BigNumContext::new().expect("memory");
                    let (mut x, mut y) =
                        (BigNum::new().expect("memory"), BigNum::new().expect("memory"));
                    let point = key.public_key();
                    point
                        .affine_coordinates(&group, &mut x, &mut y, &mut context)
                        .expect("a point");
                    let padded = |it: &BigNum| {
                        let length = i32::try_from(bytes).expect("small");
                        text(&it.to_vec_padded(length).expect("it fits"))
                    };
                    let crv = match curved {
                        Kind::P256 => "P-256",
                        Kind::P384 => "P-384",
                        _ => "P-521",
                    };
                    let jwk = json!({"kty": "EC", "crv": crv, "x": padded(&x), "y": padded(&y)});
                    (PKey::from_ec_key(key).expect("a key"), jwk)
                }
            };
            jwk["kid"] = id.into();
            Self { algorithm, jwk, private }
        }

        pub(in crate::access) fn sign(&self, signed: &[u8]) -> Vec<u8> {
            let algorithm = self.algorithm;
            if algorithm.kind() == Kind::Ed25519 {
                let mut maker = Signer::new_without_digest(&self.private).expect("a maker");
                return maker.sign_oneshot_to_vec(signed).expect("signed");
            }
            let mut maker = Signer::new(algorithm.digest(), &self.private).expect("a maker");
            if algorithm.is_pss() {
                maker.set_rsa_padding(Padding::PKCS1_PSS).expect("PSS");
                maker.set_rsa_mgf1_md(algorithm.digest()).expect("PSS");
                maker.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH).expect("PSS");
            }
            let made = maker.sign_oneshot_to_vec(signed).expect("signed");
            let Some((_, bytes)) = algorithm.kind().curve() else { return made };
            let made = EcdsaSig::from_der(&made).expect("DER");
            let length = i32::try_from(bytes).expect("small");
            let padded = |it: &openssl::bn::BigNumRef| it.to_vec_padded(length).expect("it fits");
            [padded(made.r()), padded(made.s())].concat()
        }

        fn key(&self) -> Key {
            let set = json!({"keys": [self.jwk]}).to_string();
            read(set.as_bytes()).expect("a set").pop().expect("a key")
        }
    }

    #[test]
    fn every_algorithm_verifies_what_its_key_signed_and_nothing_else() {
        for algorithm in Algorithm::ALL {
            let pair = Pair::new(algorithm, "1");
            let (key, signature) = (pair.key(), pair.sign(b"text"));

            assert!(key.has_signed(algorithm, b"text", &signature), "{algorithm:?}");
            assert!(!key.has_signed(algorithm, b"texT", &signature), "{algorithm:?}");
            let mut other = signature.clone();
            other[7] ^= 1;
            assert!(!key.has_signed(algorithm, b"text", &other), "{algorithm:?}");
            assert!(!key.has_signed(algorithm, b"text", &[]), "{algorithm:?}");
            for another in Algorithm::ALL.into_iter().filter(|it| *it != algorithm) {
                assert!(!key.has_signed(another, b"text", &signature), "{another:?}");
            }
            assert!(!Pair::new(algorithm, "1").key().has_signed(algorithm, b"text", &signature));
        }
    }

    #[test]
    fn a_key_is_for_one_algorithm_where_its_owner_says_so() {
        let mut pair = Pair::new(Algorithm::RS256, "1");
        pair.jwk["alg"] = "PS256".into();

        assert!(!pair.key().fits(Algorithm::RS256) && pair.key().fits(Algorithm::PS256));
    }

    #[test]
    fn keys_that_verify_nothing_here_are_left_out() {
        let good = Pair::new(Algorithm::ES256, "1").jwk;
        let with = |name: &str, value: Value| {
            let mut jwk = good.clone();
            jwk[name] = value;
            jwk
        };
        let small = Rsa::generate(1_024).expect("a key");
        let rsa = |n: Vec<u8>, e: &str| json!({"kty": "RSA", "n": text(&n), "e": e});
        let large = Rsa::generate(2_048).expect("a key").n().to_vec();
        let left_out = [
            with("use", "enc".into()),
            with("key_ops", json!(["sign"])),
            with("alg", "HS256".into()),
            with("alg", "none".into()),
            with("crv", "P-384".into()),
            with("x", "AAAA".into()),
            with("y", Value::Null),
            with("kty", "oct".into()),
            json!({"kty": "oct", "k": "AAAA"}),
            json!({"kty": "OKP", "crv": "X25519", "x": text(&[7; 32])}),
            json!({"kty": "OKP", "crv": "Ed25519", "x": text(&[7; 31])}),
            rsa(small.n().to_vec(), "AQAB"),
            rsa(large.clone(), "AQ"),
            rsa(large, "Ag"),
            json!("text"),
            json!({}),
        ];
        for jwk in left_out {
            let set = json!({"keys": [jwk, good]}).to_string();
            assert_eq!(read(set.as_bytes()).expect("a set").len(), 1, "{jwk}");
        }
        assert!(read(b"{}").is_none() && read(b"<html>").is_none());
        let many = json!({"keys": vec![good; MOST + 1]}).to_string();
        assert_eq!(read(many.as_bytes()).map(|keys| keys.len()), Some(MOST));
    }
}
