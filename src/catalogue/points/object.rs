//! Manifests, verdicts and states as sealed objects: one way in, one way out.

use super::{ManifestHash, StoredManifest};
use crate::backend::{Backend, BackendError, Created};
use crate::catalogue::CatalogueError;
use crate::crypt::{OpenObject, VaultKeys};
use crate::format::FormatError;
use crate::format::envelope::ObjectKind;
use crate::format::names::ObjectName;
use crate::format::point::{Manifest, PointState, Verdict};
use crate::units::PointId;

#[derive(Clone, Copy)]
pub(super) struct Objects<'a> {
    pub(super) backend: &'a dyn Backend,
    pub(super) keys: &'a VaultKeys,
}

impl Objects<'_> {
    pub(super) fn put_manifest(&self, manifest: &Manifest) -> Result<ManifestHash, CatalogueError> {
        let name = ObjectName::Point(manifest.point);
        let body = manifest.encode_body().map_err(|source| damaged(&name, source))?;
        let sealed = self.seal(ObjectKind::Manifest, &name, &manifest.header().encode(), &body)?;
        if self.create(&name, &sealed)? {
            return Ok(*blake3::hash(&sealed).as_bytes());
        }
        Err(CatalogueError::Conflict { object: name.to_string() })
    }

    pub(super) fn manifest(&self, point: PointId) -> Result<Option<StoredManifest>, CatalogueError> {
        let name = ObjectName::Point(point);
        let Some(bytes) = self.get(&name)? else { return Ok(None) };
        let opened = self.open(ObjectKind::Manifest, &name, &bytes)?;
        let manifest = Manifest::decode(&opened.clear, &opened.body).map_err(|source| damaged(&name, source))?;
        check_point(&name, point, manifest.point)?;
        Ok(Some(StoredManifest { manifest, hash: *blake3::hash(&bytes).as_bytes() }))
    }

    /// False: there is a verdict already.
    pub(super) fn put_verdict(&self, verdict: &Verdict) -> Result<bool, CatalogueError> {
        let name = ObjectName::Verdict(verdict.point);
        let sealed = self.seal(ObjectKind::Verdict, &name, &[], &verdict.encode())?;
        self.create(&name, &sealed)
    }

    pub(super) fn verdict(&self, point: PointId) -> Result<Option<Verdict>, CatalogueError> {
        let name = ObjectName::Verdict(point);
        let Some(bytes) = self.get(&name)? else { return Ok(None) };
        let opened = self.open(ObjectKind::Verdict, &name, &bytes)?;
        let verdict = Verdict::decode(&opened.body).map_err(|source| damaged(&name, source))?;
        check_point(&name, point, verdict.point)?;
        Ok(Some(verdict))
    }

    /// False: the number is taken.
    pub(super) fn put_state(&self, number: u64, state: &PointState) -> Result<bool, CatalogueError> {
        let name = ObjectName::State(state.point, number);
        let sealed = self.seal(ObjectKind::State, &name, &[], &state.encode())?;
        self.create(&name, &sealed)
    }

    pub(super) fn state(&self, point: PointId, number: u64) -> Result<PointState, CatalogueError> {
        let name = ObjectName::State(point, number);
        let bytes = self.backend.get(&name.to_string())?;
        let opened = self.open(ObjectKind::State, &name, &bytes)?;
        let state = PointState::decode(&opened.body).map_err(|source| damaged(&name, source))?;
        check_point(&name, point, state.point)?;
        Ok(state)
    }

    fn get(&self, name: &ObjectName) -> Result<Option<Vec<u8>>, CatalogueError> {
        match self.backend.get(&name.to_string()) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(BackendError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Creates an object; false where the name is taken by other bytes. A failure after which exactly our bytes are there was none: only
    /// the answer was lost on its way.
    fn create(&self, name: &ObjectName, sealed: &[u8]) -> Result<bool, CatalogueError> {
        let name = name.to_string();
        match self.backend.create(&name, sealed) {
            Ok(Created::New) => Ok(true),
            Ok(Created::Exists) => Ok(self.backend.get(&name)? == sealed),
            Err(error) => match self.backend.get(&name) {
                Ok(found) => Ok(found == sealed),
                Err(_) => Err(error.into()),
            },
        }
    }

    fn seal(&self, kind: ObjectKind, name: &ObjectName, clear: &[u8], body: &[u8]) -> Result<Vec<u8>, CatalogueError> {
        Ok(self.keys.seal_object(kind, &name.to_string(), clear, body)?)
    }

    fn open(&self, kind: ObjectKind, name: &ObjectName, bytes: &[u8]) -> Result<OpenObject, CatalogueError> {
        Ok(self.keys.open_object(kind, &name.to_string(), bytes)?)
    }
}

/// The seal binds an object to its name; this catches a writer that put one point's object under another's name.
fn check_point(name: &ObjectName, expected: PointId, found: PointId) -> Result<(), CatalogueError> {
    if expected == found {
        return Ok(());
    }
    Err(CatalogueError::Misplaced { object: name.to_string(), found })
}

fn damaged(name: &ObjectName, source: FormatError) -> CatalogueError {
    CatalogueError::Damaged { object: name.to_string(), source }
}
