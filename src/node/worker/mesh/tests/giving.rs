//! Who gets files of a worker over a direct link, and who does not.

use super::*;
use crate::blob::{BlobStore, open_piece};
use crate::model::files::BlobRef;
use crate::model::peers::PeerPurpose;
use crate::model::pieces::{MAX_PIECES_FRAME, PieceAnswer, PieceAsk, PiecesAt, ReadPass};
use crate::model::{AttemptId, AttemptNo, Digest, Fence, IntervalSet, TaskId};
use crate::node::serving::Uploads;
use crate::node::worker::files::{Giver, Traffic};
use crate::transport::{FrameRecv, FrameSend};
use crate::trust::grants::{BlobGrant, HandOver, TaskGrant, spec_hash};

/// A reader, a giver with one file, and the dispatcher of both.
struct Scene {
    signer: Signer,
    reader: Peer,
    giver: Peer,
    uploads: Uploads,
    blob: BlobRef,
    bytes: Vec<u8>,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let mut signer = Signer::new();
        let (reader, giver) = signer.pair().await;
        let folder = tempfile::tempdir().expect("a folder");
        let store = BlobStore::open(&folder.path().join("files"), u64::MAX).expect("a store");
        let bytes = vec![7; 3 << 19];
        let blob = store.insert_bytes(&bytes).expect("it is kept");
        let uploads = Uploads::new(2);
        giver.mesh.give_files(Giver::new(store, uploads.clone(), Traffic::default()));
        signer.shows(&[&reader, &giver]);
        reader.is_linked_with(&[&giver]).await;
        Self { signer, reader, giver, uploads, blob, bytes, _folder: folder }
    }

    fn granted(&self, signer: &Identity, reader: NodeId, digest: Digest, good_for: Millis) -> ReadPass {
        let expires_at = self.signer.clock.now() + good_for;
        let grant = BlobGrant { digests: vec![digest], reader, expires_at };
        ReadPass::Blobs(Signed::sign(signer, &grant).expect("sound").to_bytes())
    }

    /// What the giver answers to somebody who asks for its file and shows this.
    async fn shown(&self, pass: ReadPass) -> (PieceAnswer, FrameSend, FrameRecv) {
        let link = self.reader.mesh.link(self.giver.id).await.expect("they are linked");
        let (mut send, mut recv) = link.open_bi().await.expect("a stream");
        send.send(&PeerPurpose::Pieces { pass, blobs: vec![self.blob] }).await.expect("it is sent");
        let answer = recv.recv(MAX_PIECES_FRAME).await.expect("an answer").expect("an answer");
        (answer, send, recv)
    }

    async fn is_refused(&self, pass: ReadPass, why: &str) {
        match self.shown(pass).await.0 {
            PieceAnswer::Refused(failure) => assert!(failure.text.contains(why), "{}", failure.text),
            other => panic!("{why}: {other:?}"),
        }
    }
}

const WHILE: Millis = Millis::from_secs(60);

#[tokio::test]
async fn whoever_was_granted_a_file_gets_its_pieces() {
    let scene = Scene::new().await;
    let pass = scene.granted(&scene.signer.identity, scene.reader.id, scene.blob.digest, WHILE);
    let (answer, mut send, mut recv) = scene.shown(pass).await;
    let all = PiecesAt { place: 0, pieces: IntervalSet::from_range(0, 1) };
    assert_eq!(answer, PieceAnswer::Has(vec![all.clone()]));
    send.send(&PieceAsk(vec![all])).await.expect("it is sent");
    assert!(matches!(recv.recv(MAX_PIECES_FRAME).await, Ok(Some(PieceAnswer::Has(_)))));
    let mut came = Vec::new();
    while let Some(piece) = recv.recv_piece().await.expect("a piece") {
        came.extend(open_piece(scene.blob, piece.number, &piece.encoded).expect("what it says it is"));
    }
    assert!(came == scene.bytes && scene.uploads.sent_bytes() > came.len() as u64);
    send.send(&PieceAsk(Vec::new())).await.expect("it is sent");
    assert_eq!(recv.recv(MAX_PIECES_FRAME).await.expect("an answer"), Some(PieceAnswer::Has(Vec::new())), "no news");
}

#[tokio::test]
async fn forged_expired_and_re_addressed_grants_and_those_of_other_files_open_nothing() {
    let scene = Scene::new().await;
    let (own, digest) = (&scene.signer.identity, scene.blob.digest);
    let forger = Identity::ephemeral().expect("a key");
    scene.is_refused(scene.granted(&forger, scene.reader.id, digest, WHILE), "did not sign it").await;
    scene.is_refused(scene.granted(own, scene.giver.id, digest, WHILE), "it is for node").await;
    scene.is_refused(scene.granted(own, scene.reader.id, Digest([9; 32]), WHILE), "does not cover file").await;
    scene.is_refused(scene.granted(own, scene.reader.id, digest, Millis(0)), "it ran out").await;
    scene.is_refused(ReadPass::Blobs(vec![1, 2, 3]), "cut off").await;
    assert_eq!(scene.uploads.sent_bytes(), 0);
}

#[tokio::test]
async fn a_grant_that_runs_out_while_it_is_used_opens_no_more() {
    let scene = Scene::new().await;
    let pass = scene.granted(&scene.signer.identity, scene.reader.id, scene.blob.digest, Millis(300));
    let (answer, mut send, mut recv) = scene.shown(pass).await;
    assert!(matches!(answer, PieceAnswer::Has(_)));
    loop {
        send.send(&PieceAsk(Vec::new())).await.expect("it is sent");
        match recv.recv(MAX_PIECES_FRAME).await.expect("an answer").expect("an answer") {
            PieceAnswer::Has(_) => assert!(recv.recv_piece().await.expect("an end").is_none()),
            PieceAnswer::Refused(failure) => break assert!(failure.text.contains("has run out"), "{}", failure.text),
            PieceAnswer::Busy => panic!("nobody else asks"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_reader_that_is_thrown_out_gets_nothing_more() {
    let mut scene = Scene::new().await;
    let pass = scene.granted(&scene.signer.identity, scene.reader.id, scene.blob.digest, WHILE);
    let (_, mut send, mut recv) = scene.shown(pass).await;
    let without = scene.signer.roster(&[&scene.giver], Millis(0));
    scene.giver.mesh.show(&without);
    let pieces = IntervalSet::from_range(0, 1);
    let _ = send.send(&PieceAsk(vec![PiecesAt { place: 0, pieces }])).await;
    let answer = recv.recv::<PieceAnswer>(MAX_PIECES_FRAME).await;
    assert!(!matches!(answer, Ok(Some(PieceAnswer::Has(_)))), "{answer:?}");
    assert_eq!(scene.uploads.sent_bytes(), 0);
}

#[tokio::test]
async fn a_handed_over_task_opens_its_inputs_to_its_receiver_and_to_nobody_else() {
    let scene = Scene::new().await;
    let fence = |counter| Fence { epoch: Epoch(1), counter };
    let grant = TaskGrant {
        attempt: AttemptId { task: TaskId::new(5, 0), attempt: AttemptNo(1) },
        spec: spec_hash(b"spec"),
        inputs: vec![scene.blob.digest],
        worker: scene.giver.id,
        fences: [fence(1), fence(2)],
        roster: RosterEpoch { start: Epoch(1), change: 1 },
        expires_at: scene.signer.clock.now() + WHILE,
    };
    let granted = Signed::sign(&scene.signer.identity, &grant).expect("sound");
    let giver = &scene.giver.mesh.0.config.identity;
    let to = |receiver: NodeId, signer: &Identity| {
        let statement = HandOver { grant: granted.hash(), receiver, instance: InstanceId(1), fence: fence(2) };
        let hand_over = Some(Signed::sign(signer, &statement).expect("sound").to_bytes());
        ReadPass::Task { grant: granted.to_bytes(), hand_over, manifest: None }
    };
    let (answer, ..) = scene.shown(to(scene.reader.id, giver)).await;
    assert!(matches!(answer, PieceAnswer::Has(_)), "{answer:?}");
    let reader = &scene.reader.mesh.0.config.identity;
    scene.is_refused(to(scene.reader.id, reader), "did not sign it").await;
    scene.is_refused(to(scene.giver.id, giver), "it is for node").await;
    let alone = ReadPass::Task { grant: granted.to_bytes(), hand_over: None, manifest: None };
    scene.is_refused(alone, "it is for node").await;
}
