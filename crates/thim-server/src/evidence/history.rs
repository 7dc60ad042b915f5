//! Editions by the vendor's dates: what was newest at an instant, whatever has become of it since.
//!
//! A number does not freeze content, so a key and an instant are needed to tell which edition is meant. What is held or
//! quarantined is not used; what has ended is, for that it has ended is said of it elsewhere.

use bytes::Bytes;
use thim_verify::{Artefact, ArtefactKey, Error, EvaluationNumber, Tee, UnixTime, Verified};

use crate::baseline::{Choice, Lists};
use crate::collateral::{Collateral, as_list};
use crate::proof::Proven;
use crate::sentinel::State;
use crate::store::{EditionRow, StoreError};
use crate::view::Subject;

/// What an instant has of a key.
pub enum Picked {
    /// What is stored does not verify.
    Broken(Error),
    /// The newest edition that was issued by then.
    Edition(Box<Verified<Artefact>>),
    /// None was issued by then.
    None,
}

impl Collateral {
    /// The newest edition of a key of Intel's whose issue date is not after `at`.
    pub(crate) async fn edition_at(
        &self,
        key: ArtefactKey,
        at: UnixTime,
    ) -> Result<Picked, StoreError> {
        let rows = self.store().editions_of(key).await?;
        let newest = rows
            .iter()
            .filter(|row| row.issued <= at && is_usable(row.state))
            .max_by_key(|row| (row.issued, row.id));
        let Some(row) = newest else {
            return Ok(Picked::None);
        };
        Ok(match self.reverify(row, at).await? {
            Ok(proven) => match Proven::intel(proven) {
                Some(edition) => Picked::Edition(Box::new(edition)),
                None => Picked::None,
            },
            Err(error) => Picked::Broken(error),
        })
    }

    /// The newest document of a key of AMD's whose issue date is not after `at`, to be judged by whoever uses it. One that
    /// failed a later judgement counts where there is no other: which judgement that was is worth telling, above all a
    /// revocation.
    pub(super) async fn amd_document_at(
        &self,
        key: ArtefactKey,
        at: UnixTime,
    ) -> Result<Option<Bytes>, StoreError> {
        let rows = self.store().editions_of(key).await?;
        let newest = rows
            .iter()
            .filter(|row| row.issued <= at && row.state != State::Held)
            .max_by_key(|row| (is_usable(row.state), row.issued, row.id));
        match newest {
            Some(row) => self.store().document(row.id).await,
            None => Ok(None),
        }
    }

    /// The number that `choice` meant for `subject` at an instant: by the newest lists of then; without any, what the
    /// source called standard last, else the highest of those that had not ended, else the highest.
    pub(super) async fn number_at(
        &self,
        subject: Subject,
        choice: Choice,
        at: UnixTime,
    ) -> Result<Option<EvaluationNumber>, StoreError> {
        if let Choice::Number(number) = choice {
            return Ok(Some(number));
        }
        let mut lists = Lists::default();
        for tee in Tee::ALL {
            let key = ArtefactKey::EvaluationNumbers { tee };
            if let Picked::Edition(edition) = self.edition_at(key, at).await?
                && let Some(list) = as_list(&edition)
            {
                lists.learn(list);
            }
        }
        if let Some(chosen) = lists.choose(choice, at) {
            return Ok(Some(chosen.number));
        }
        let prefix = format!("{subject}/");
        let rows = self.store().editions_by_prefix(&prefix).await?;
        let then: Vec<(&EditionRow, EvaluationNumber)> = rows
            .iter()
            .filter(|row| row.issued <= at && is_usable(row.state))
            .filter_map(|row| Some((row, Subject::of(&row.key)?.1)))
            .collect();
        let called = |word: &str| {
            let called = then.iter();
            called
                .filter(|(row, _)| row.called.as_deref() == Some(word))
                .max_by_key(|(row, _)| row.issued)
                .map(|(_, number)| *number)
        };
        let valid = then.iter().filter(|(row, _)| at < row.next_update);
        let highest = valid
            .map(|(_, number)| *number)
            .max()
            .or_else(|| then.iter().map(|(_, number)| *number).max());
        Ok(match choice {
            Choice::Standard => called("standard").or(highest),
            Choice::Early => then.iter().map(|(_, number)| *number).max(),
            Choice::Number(number) => Some(number),
        })
    }
}

/// Whether what is in this state counts for judgements.
pub(super) const fn is_usable(state: State) -> bool {
    match state {
        State::Archived | State::Current | State::Superseded => true,
        State::Held | State::Quarantined => false,
    }
}
