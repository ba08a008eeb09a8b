//! What a stranger can send, decoder by decoder: the corpus replayed, and random bytes beside it.
//!
//! A folder of `tests/corpus/` is a decoder, a file of it one input; it must be
//! refused, or, when its name begins with `ok-`, taken. Either way without a
//! panic, and so must everything near it: cut short anywhere, and with any one
//! byte changed. An input that ever broke a decoder belongs there. Absent: what
//! is done with what was decoded.

#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use octaskly::model::NodeId;
use octaskly::model::handshake::{Answer, Hello};
use octaskly::model::limits::MAX_FRAME_UNAUTHENTICATED;
use octaskly::model::messages::{StreamPurpose, WorkerMessage};
use octaskly::model::peers::{PeerMessage, PeerPurpose};
use octaskly::model::requests::Request;
use octaskly::model::trust::{JoinNews, JoinReply};
use octaskly::trust::grants::{BlobGrant, HandOver, TaskGrant};
use octaskly::trust::roster::Roster;
use octaskly::trust::signed::Statement;
use octaskly::trust::{ApprovalCode, Signed, TokenText, pins, tls};
use octaskly::wire::beacon::SealedBeacon;
use octaskly::wire::data::{DATA_HEADER_BYTES, DataHeader};
use octaskly::wire::frame::{self, HEADER_BYTES};
use octaskly::wire::{DataFrame, Message, manifest};
use proptest::prelude::*;
use rustls::pki_types::CertificateDer;

/// Says whether the bytes were taken.
type Decoder = fn(&[u8]) -> bool;

/// Every decoder that bytes from outside reach, by the name of its folder.
const DECODERS: &[(&str, Decoder)] = &[
    ("answer", message::<Answer>),
    ("beacon", |bytes| SealedBeacon::decode(bytes).and_then(|sealed| sealed.content()).is_ok()),
    ("blob_grant", signed::<BlobGrant>),
    ("certificate", |bytes| tls::peer_id(&CertificateDer::from(bytes)).is_ok()),
    ("code", |bytes| text(bytes).is_some_and(|text| text.parse::<ApprovalCode>().is_ok())),
    ("data_frame", data_frame),
    ("frame", whole_frame),
    ("hand_over", signed::<HandOver>),
    ("hello", message::<Hello>),
    ("join_news", message::<JoinNews>),
    ("join_reply", message::<JoinReply>),
    ("manifest", manifest),
    ("peer_message", message::<PeerMessage>),
    ("peer_purpose", message::<PeerPurpose>),
    ("pins", |bytes| pins::decode(bytes).is_ok()),
    ("request", message::<Request>),
    ("roster", signed::<Roster>),
    ("stream_purpose", message::<StreamPurpose>),
    ("task_grant", signed::<TaskGrant>),
    ("token", |bytes| text(bytes).is_some_and(|text| text.parse::<TokenText>().is_ok())),
    ("worker_message", message::<WorkerMessage>),
];

/// The body of a frame. What is taken can be said again, within the same bounds.
fn message<T: Message>(bytes: &[u8]) -> bool {
    match frame::decode::<T>(bytes) {
        Ok(message) => frame::encode(&message, &mut Vec::new(), u32::MAX).is_ok(),
        Err(_) => false,
    }
}

/// A frame as it is first read from a stranger: its header, its body, and nothing behind.
fn whole_frame(bytes: &[u8]) -> bool {
    let Some((header, body)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return false };
    let length = frame::body_length(*header, MAX_FRAME_UNAUTHENTICATED);
    length.is_ok_and(|length| length == body.len()) && message::<Hello>(body)
}

/// What is taken is the one form that it can have.
fn manifest(bytes: &[u8]) -> bool {
    let Ok(entries) = manifest::decode(bytes) else { return false };
    assert_eq!(manifest::encode(&entries).as_deref(), Ok(bytes));
    true
}

fn data_frame(bytes: &[u8]) -> bool {
    let Some((front, payload)) = bytes.split_first_chunk::<DATA_HEADER_BYTES>() else { return false };
    DataHeader::parse(*front).is_ok_and(|header| DataFrame::from_parts(header, payload).is_ok())
}

/// The key that must have signed, then the signed statement.
fn signed<T: Statement>(bytes: &[u8]) -> bool {
    let Some((key, statement)) = bytes.split_first_chunk::<32>() else { return false };
    Signed::<T>::from_bytes(statement).and_then(|signed| signed.open(NodeId(*key))).is_ok()
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// The files of one decoder by name.
fn inputs(decoder: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(decoder);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    files
        .map(|file| {
            let path = file.unwrap().path();
            (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap())
        })
        .collect()
}

#[test]
fn every_input_is_refused_unless_its_name_says_otherwise() {
    let mut wrong = Vec::new();
    for (name, decode) in DECODERS {
        for (input, bytes) in inputs(name) {
            if decode(&bytes) != input.starts_with("ok-") {
                wrong.push(format!("{name}/{input}"));
            }
        }
    }
    assert!(wrong.is_empty(), "decided otherwise than named: {wrong:#?}");
}

#[test]
fn every_folder_has_a_decoder_and_every_decoder_takes_something_and_refuses_much() {
    let folders = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")).unwrap();
    let folders = folders.map(|folder| folder.unwrap()).filter(|folder| folder.path().is_dir());
    let mut folders: Vec<_> = folders.map(|folder| folder.file_name().into_string().unwrap()).collect();
    folders.sort();
    assert_eq!(folders, DECODERS.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    for (name, _) in DECODERS {
        let (taken, refused): (Vec<_>, Vec<_>) = inputs(name).into_keys().partition(|name| name.starts_with("ok-"));
        assert!(!taken.is_empty() && refused.len() >= 10, "{name}: {} and {}", taken.len(), refused.len());
    }
}

/// Longer inputs are tried as they are only; near ones would take minutes and find nothing new.
const SHORT: usize = 400;

#[test]
fn nothing_near_an_input_breaks_its_decoder() {
    for (name, decode) in DECODERS {
        for (_, mut bytes) in inputs(name).into_iter().filter(|(_, bytes)| bytes.len() <= SHORT) {
            for end in 0..bytes.len() {
                decode(&bytes[..end]);
            }
            for at in 0..bytes.len() {
                for flip in [0x01, 0x20, 0x80, 0xff] {
                    bytes[at] ^= flip;
                    decode(&bytes);
                    bytes[at] ^= flip;
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_break_no_decoder(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        for (_, decode) in DECODERS {
            decode(&bytes);
        }
    }

    #[test]
    fn pieces_of_inputs_put_together_anew_break_no_decoder(
        which in any::<prop::sample::Index>(),
        cuts in proptest::collection::vec(any::<[prop::sample::Index; 3]>(), 1..6),
    ) {
        let (name, decode) = DECODERS[which.index(DECODERS.len())];
        let inputs: Vec<_> = inputs(name).into_values().filter(|bytes| (1..=SHORT).contains(&bytes.len())).collect();
        let mut bytes = Vec::new();
        for [from, start, end] in cuts {
            let piece = &inputs[from.index(inputs.len())];
            let start = start.index(piece.len());
            bytes.extend_from_slice(&piece[start..start + end.index(piece.len() - start + 1)]);
        }
        decode(&bytes);
    }
}
