//! What a peer says, frame by frame, and what it is answered.

use super::*;

impl State {
    pub(super) fn frame(&mut self, id: ConnectionId, frame: Frame) -> Result<(), Cause> {
        let Some(known) = self.connections.get_mut(&id) else {
            return Ok(());
        };
        match (frame, known.stage) {
            (Frame::Hello { versions, backend, to, class, mut met }, Stage::Fresh) => {
                if let Some(why) = self.refusal(versions, &backend, &to) {
                    self.send(id, Frame::Refuse(why));
                    // It has been told; its end is not worth a note.
                    self.connections.remove(&id);
                    return Ok(());
                }
                let Some(known) = self.connections.get_mut(&id) else {
                    return Ok(());
                };
                known.stage = Stage::Asked;
                known.watch = self.watches.over(&self.identity, &mut met);
                match self.listening.get(&class) {
                    Some(inbox) => {
                        known.inbox = Some(Arc::clone(inbox));
                        inbox.put(Note::Hello { connection: id, class, peer: met });
                    }
                    None => known.unclaimed = Some((class, met)),
                }
                Ok(())
            }
            (Frame::Welcome { version, epoch, mut met }, Stage::Dialled(channel)) => {
                if version < VERSIONS.0 || version > VERSIONS.1 {
                    return Err(GARBAGE_ON_CONTROL);
                }
                known.stage = Stage::Met;
                known.watch = self.watches.over(&self.identity, &mut met);
                self.dials.retain(|dial| dial.channel != channel);
                if let Some(inbox) = &known.inbox {
                    inbox.put(Note::Welcome { channel, connection: id, epoch, peer: met });
                }
                Ok(())
            }
            (Frame::Refuse(why), Stage::Dialled(_)) => Err(Cause::Refused(why)),
            (Frame::Refuse(_), Stage::Met) => Err(Cause::PeerGone),
            (Frame::Ready, Stage::Met) if !known.said.0 => {
                known.said.0 = true;
                if let Some(inbox) = &known.inbox {
                    inbox.put(Note::Ready { connection: id });
                }
                Ok(())
            }
            (Frame::Bye, Stage::Met) if !known.said.1 => {
                known.said.1 = true;
                if let Some(inbox) = &known.inbox {
                    inbox.put(Note::Bye { connection: id });
                }
                Ok(())
            }
            (Frame::Import { request, epoch, first, count }, Stage::Met) => {
                let answer = match self.export(id, epoch, first as usize, count as usize) {
                    Ok(parcels) => Frame::Granted { request, parcels },
                    Err(why) => Frame::Denied { request, why },
                };
                self.send(id, answer);
                Ok(())
            }
            (Frame::Revoke { epoch }, Stage::Met) => {
                let in_use = self.registry.usage_if_any(id, epoch).map_or(InUse::No, |usage| usage.revoke());
                match (in_use, &known.inbox) {
                    (InUse::Yes, Some(inbox)) => inbox.put(Note::Revoke { connection: id }),
                    (InUse::YesAndRevoked, _) => {}
                    _ => self.send(id, Frame::Revoked { epoch }),
                }
                Ok(())
            }
            (Frame::Revoked { epoch }, Stage::Met) => {
                let Some(at) = known.revoking.iter().position(|one| *one == epoch) else {
                    return Err(GARBAGE_ON_CONTROL);
                };
                known.revoking.swap_remove(at);
                known.imported.retain(|one| one.epoch != epoch);
                if let Some(inbox) = &known.inbox {
                    inbox.put(Note::Revoked { connection: id, epoch });
                }
                Ok(())
            }
            (Frame::Fence, Stage::Met) => Err(Cause::PeerFenced),
            (Frame::Check { request, epoch, pieces }, Stage::Met) => {
                // One at a time: who asks more than that fills this side's queue.
                if known.checks.1.replace(request).is_some() {
                    return Err(GARBAGE_ON_CONTROL);
                }
                let of_grant = known.imported.iter().filter(|one| one.epoch == epoch);
                let regions: Vec<_> = of_grant.map(|one| (one.place, Arc::clone(&one.region))).collect();
                let (node, mailbox) = (self.identity.name.clone(), Arc::clone(&self.mailbox));
                self.upkeep.reaper.take(move || {
                    let wrong = check::first_wrong(&regions, &pieces, &node);
                    mailbox.put(Command::Send { connection: id, frame: Frame::Checked { request, wrong } });
                });
                Ok(())
            }
            (Frame::Checked { request, wrong }, Stage::Met) => {
                if known.checks.0.take() != Some(request) {
                    return Err(GARBAGE_ON_CONTROL);
                }
                if let Some(inbox) = &known.inbox {
                    inbox.put(Note::Checked { connection: id, request, wrong });
                }
                Ok(())
            }
            (Frame::Granted { request, parcels }, Stage::Met) => known.answer(request, Ok(parcels)),
            (Frame::Denied { request, why }, Stage::Met) => known.answer(request, Err(Denial::Owner(why))),
            _ => Err(GARBAGE_ON_CONTROL),
        }
    }

    pub(super) fn refusal(&self, versions: (u16, u16), backend: &str, to: &(String, u64)) -> Option<Refusal> {
        if versions.0 > VERSIONS.1 || versions.1 < VERSIONS.0 {
            Some(Refusal::Version)
        } else if (to.0.as_str(), to.1) != (self.identity.name.as_str(), self.identity.incarnation) {
            Some(Refusal::NotMe)
        } else if backend != self.identity.backend {
            Some(Refusal::Backend)
        } else {
            None
        }
    }

    pub(super) fn export(
        &mut self,
        id: ConnectionId,
        epoch: u64,
        first: usize,
        count: usize,
    ) -> Result<Vec<crate::backend::Parcel>, String> {
        if count > IMPORT_BATCH {
            return Err(format!("{count} regions asked at once: expected at most {IMPORT_BATCH}"));
        }
        let regions = self.registry.granted(epoch, id, first, count)?;
        let export = |region: &Arc<RegionInner>| {
            let parcel = self.domain.export(region.key).and_then(|parcel| parcel.check(self.domain.capabilities()));
            parcel.map_err(|error| error.to_string())
        };
        let parcels = regions.iter().map(export).collect::<Result<_, _>>()?;
        if let Some(known) = self.connections.get_mut(&id) {
            for (place, region) in (first..).zip(regions) {
                if !known.imported.iter().any(|other| (other.epoch, other.place) == (epoch, place)) {
                    known.imported.push(Imported::new(region, (epoch, place), id));
                }
            }
        }
        Ok(parcels)
    }
}
