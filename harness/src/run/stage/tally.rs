//! Counters of the hub, which show how often a call was executed.

use serde_json::json;

use super::{Holder, Stage};
use crate::plan::{Need, Tool};
use crate::transcript::normal::{SPARE, own_mark};

/// The name of calls that find out whether replicas share their counters.
pub const COUNTER: &str = "is the counter shared";

impl Stage {
    /// A key that no other cell uses, in this run or another: replicas may count in a place that outlives them.
    pub fn own_key(&self, name: &str) -> String {
        format!("{name}{}", self.mark)
    }

    /// The key that a holder's calls are counted under.
    pub(super) fn key_of(&self, holder: &Holder) -> String {
        self.own_key(&format!("key {}", own_mark(holder.client.name())))
    }

    /// Finds out whether replicas share their counters, as behind a proxy with one upstream: one replica counts, and another one
    /// tells. What it tells is in the transcript, and decides how a check adds up what the replicas tell.
    ///
    /// # Errors
    ///
    /// When a replica goes meanwhile.
    pub async fn meet_counters(&self) -> anyhow::Result<()> {
        let replicas = self.replicas();
        if !self.offers(Need::Tool(Tool::Tally)) || replicas.len() < 2 {
            return Ok(());
        }
        let key = self.own_key("shared");
        for (replica, add) in replicas.iter().zip([1, 0]) {
            let target = self.at(replica)?;
            let Some(holder) = self.open(SPARE, &target).await else { continue };
            let call = self.tool_call(Tool::Tally, &json!({ "key": key, "add": add }));
            self.ask(&holder, &target, COUNTER, "tools/call", call).await;
            holder.session.end(&target).await;
        }
        Ok(())
    }

    /// Reads every key's tally on every ready replica, this one first, each through a session of its own.
    pub async fn read_tallies(&self, keys: &[String], first: Option<&str>) -> anyhow::Result<()> {
        if !self.offers(Need::Tool(Tool::Tally)) {
            return Ok(());
        }
        for (idx, replica) in self.replicas_from(first).into_iter().enumerate() {
            let target = self.at(&replica)?;
            let Some(reader) = self.open(&format!("reader-{}", idx + 1), &target).await else { continue };
            for key in keys {
                self.call(&reader, &target, Tool::Tally, json!({ "key": key, "add": 0 })).await;
            }
            reader.session.end(&target).await;
        }
        Ok(())
    }
}
