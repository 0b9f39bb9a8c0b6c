//! Manifests, verdicts and states as sealed objects.

use super::{ManifestHash, StoredManifest};
use crate::catalogue::CatalogueError;
pub(super) use crate::catalogue::sealed::Sealed as Objects;
use crate::format::FormatError;
use crate::format::envelope::ObjectKind;
use crate::format::names::ObjectName;
use crate::format::point::{Manifest, PointState, Verdict};
use crate::units::PointId;

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
