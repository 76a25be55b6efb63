// Package promises has what this project promises, which tests hold each promise, and in which faults the gateway is measured
// beside a plain endpoint. `make promises` (internal/tools/promises) runs both and writes docs/PROMISES.md. The measurement is
// the test of this package with the build tag "promises".
package promises

import "strings"

// A Promise is a sentence that users may rely on.
type Promise struct {
	Title, Text string
	// Tests are what holds it: a name for a test of the root package, "directory.name" for any other.
	Tests []string
}

// All are the promises, P1 first. Add the name of a new test here, then run `make promises`.
var All = []Promise{
	{
		Title: "Nothing is lost silently",
		Text: "Every message that Redis hands to the gateway reaches every open stream of its channel once, in Redis's order, or a `gap` " +
			"event stands in its place.",
		Tests: []string{
			"TestAnOutageIsOneGapPerChannelInItsPlace",
			"TestAnOutageIsOneGapOfAPattern",
			"TestAShortFreezeLosesNothing",
			"TestAHoleTowardsRedisLosesNothing",
			"TestTheJudgeSeesALossWithoutItsGap",
			"internal/hub.TestRandomHistories",
			"internal/hub.TestTwoChannelsUnderInterleavedAppendsLoseNothing",
			"internal/hub.TestNoCursorSaysMoreThanWasRead",
			"TestStreamsOfOverlappingPatternsComeAndGo",
			"TestConnectionsEndAmongComingsAndGoings",
			"internal/hub.TestEqualPayloadsInARowAreNotCopies",
			"TestOneForbiddenChannelAmongManyHurtsNoOther",
			"TestForbiddenChannelsOfAnOutage",
			"internal/hub.TestMessageOverMaxMessageIsAGapInChannelsAndPatterns",
			"TestPayloadsArriveAsABrowserReadsThem",
			"TestScenarioTenClientsEachGetAllMessagesInOrder",
			"TestTheWriterNoticesFirst",
			"internal/hub.TestAStartInAnOutageOfOneOfTwoPatternsHasAGap",
			"internal/browsertest.TestRedisThatWentAwayIsOneGap",
			"internal/hub.TestRandomAnswers",
			"internal/hub.TestRandomHistoriesOfPackedMessages",
			"TestWhatALeanStreamWritesInPiecesIsWhole",
			"internal/hub.TestDivertLosesNoSignal",
		},
	}, {
		Title: "Open means subscribed",
		Text: "The response begins once Redis has confirmed the subscription: what is published after `onopen` arrives, or a gap says so. " +
			"If Redis does not confirm within `open_timeout`, the stream opens all the same, and the late confirmation is a gap.",
		Tests: []string{
			"TestOpenedMeansSubscribed",
			"TestStreamOpensWhenConfirmed",
			"TestStreamOpensAfterOpenTimeoutWithAGapToCome",
			"TestStreamOpenedInAnOutageGetsItsGapAtTheConfirmation",
			"internal/hub.TestStreamOpenedInTheMiddleOfAConfirmationGetsNoGap",
			"internal/hub.TestConfirmationOfAnOlderSubscribeDoesNotCount",
			"internal/hub.TestJoinWhileItsUnsubscribeIsInFlight",
			"TestWhatIsPublishedOnceADrainingHandlerHasOpenedArrives",
			"internal/hub.TestAnOvertakenPatternIsToldBeforeWhatOthersBring",
		},
	}, {
		Title: "Redis may go away",
		Text: "A broken, frozen or black-holed connection to Redis is noticed within 10 s, one that answers pings but delivers nothing within " +
			"30 s. Messages flow again within 30 s of Redis being reachable, mostly much sooner. The gateway never gives up.",
		Tests: []string{
			"TestWatchdogEndsASilentGeneration",
			"TestARedisThatAnswersButDoesNotDeliverIsLeft",
			"TestADeafRedisIsNoticedWithinTheBound",
			"TestAMasterThatBecomesACutOffReplica",
			"TestPingsThatDoNotArriveAreNoticedWhileMessagesDo",
			"TestALargeMessageOnASlowLinkIsNoFalseAlarm",
			"TestRedisMayComeAfterCaddy",
			"TestBackoffGrowsAndResets",
			"TestAGenerationDialsOnce",
			"TestAWrongPasswordIsRetriedAndNeverLogged",
			"TestScenarioReconnectAfterRedisRestart",
			"TestScenarioAStaleConnectionIsDetectedAndReplaced",
			"TestWhereAllIsCompleteWhenAGenerationEnds",
			"internal/resp.TestAnAnnouncementThatIsTooLargeIsNotRead",
			"TestAPauseOfTheProcessIsNoSilence",
			"TestAGatewayThatWasPausedLosesNothing",
		},
	}, {
		Title: "Resume is exact",
		Text: "A client that comes back with its last event id gets exactly what it missed, in order and once, while the buffer vouches for it; " +
			"else a gap, then all that is left. So does one that never received an event, and one that comes back after a reload. On " +
			"another node or after a restart it is exact where the client's last message is recognized there, else at least once, with a gap " +
			"wherever the node cannot vouch.",
		Tests: []string{
			"TestResumeByHeaderOrQueryIsExact",
			"TestResumeOfAStreamWithoutAMessageIsExact",
			"TestResumeAtEveryEventOfAHistory",
			"TestResumeWithAnotherSetOfChannelsJudgesEachByItself",
			"TestResumeOfAChannelDroppedMeanwhileIsAGap",
			"TestResumeBehindAnEvictionIsAGap",
			"TestResumeBehindTheAgeLimitIsAGap",
			"TestAMeaninglessCursorIsAGapAndAllThatIsBuffered",
			"internal/hub.TestClientCutAroundGapsResumesWithoutLoss",
			"TestHeartbeatsCarryTheCursor",
			"internal/hub.TestMovingBetweenNodesLosesNothingSilently",
			"internal/hub.TestAnchorOfAnOldMessageFindsNoOtherOne",
			"TestACursorOfAnotherEpochResumesExactlyAtItsAnchor",
			"TestScenarioExactlyTheMissedMessagesAreReplayed",
			"TestScenarioCatchUpAfterFiveSecondsAway",
			"TestScenarioBufferOverflowIsToldByAGap",
			"TestScenarioMessagesExpireByAge",
			"internal/hub.TestATimeIsGoodOnWhileRedisHasAnsweredNoPing",
			"internal/browsertest.TestQuietStreamResumesExactly",
			"internal/browsertest.TestStreamWithMessagesResumesExactly",
			"internal/browsertest.TestGatewayThatWasKilledIsAGap",
			"TestACutWithinAMergedEventLosesAndRepeatsNothing",
			"internal/hub.TestAClientMayBeCutAtEveryByteOfASharedEvent",
		},
	}, {
		Title: "Reload loses nothing",
		Text: "`caddy reload` loses nothing and doubles nothing: subscriptions and buffers live on, open streams end properly, spread over " +
			"`drain`, and resume on the new configuration. An exit never hangs on open streams.",
		Tests: []string{
			"TestAReloadUnderTrafficLosesNothing",
			"TestARequestInADrainingHandlerIsServedAndThenEnded",
			"TestALoadThatFailsChangesNothing",
			"TestARotatedPasswordKeepsTheHubAndItsStreams",
			"TestDrainSpreadsTheEnds",
			"TestAReloadEndsStreamsProperlyDespiteTheGracePeriod",
			"TestSIGTERMEndsTwoHundredStreamsProperlyAndTheProcess",
			"TestAnExitEndsTheStreamsOfEarlierConfigurationsProperly",
			"TestAnExitEndsStreamsProperlyWithinTheGracePeriod",
			"TestAnExitIsNotHeldUpByRequestsThatWaitForRedis",
			"TestAnExitIsNotHeldUpByClientsThatTakeNothing",
			"TestAnExitIsNotHeldUpByClientsThatReadSlowly",
			"internal/browsertest.TestReloadLosesNothing",
			"TestAnExitIsNotHeldUpByBodiesThatDoNotCome",
			"TestAnExitIsNotHeldUpByAConnectionThatComesLate",
			"TestADrainLeavesStreamsToTheirEnd",
			"TestAnExitWaitsForLeanStreams",
			"TestLeanStreamsEndWellInAStormOfReloads",
		},
	}, {
		Title: "Slow clients hurt nobody",
		Text: "A slow or stalled client never delays another one, and memory is bounded by configuration, whatever clients and publishers " +
			"do.",
		Tests: []string{
			"TestAStalledClientDelaysNobodyAndIsCutOff",
			"TestAStalledClientOnHTTP2And3IsCutOff",
			"TestStalledClientIsCutAfterStallTimeout",
			"internal/hub.TestSlowClientIsToldHowManyItMissed",
			"internal/hub.TestCountedBytesAreRealHeap",
			"TestCountedBytesAreRealHeapOfWhatRedisSends",
			"internal/hub.TestOverTotalSizeGoesFirstWhatLingersThenWhatIsOnlyKeptThenTheOldest",
			"internal/hub.TestAShrunkTotalSizeEvictsAtOnce",
			"TestTheMemoryOfAStreamDoesNotGrowWithWhatItCarried",
			"TestAStormOfStreamsLeavesNothingBehind",
			"TestADeadConnectionLeavesTheCount",
			"TestScenarioTenThousandSubscriptionsComeAndGo",
			"internal/hub.TestNoPieceOfAnEventIsLarge",
			"internal/hub.TestMessagesThatOnlyStreamsHoldAreCounted",
			"internal/hub.TestReadsDoNotGrowWithTheGapsBehindThem",
			"internal/hub.TestOneCallerCannotDriveOutWhatOthersLeft",
			"TestReplaysTakeTurns",
			"TestABodyThatDoesNotComeIsGivenUp",
			"TestBodiesShareTheirRoom",
			"TestTheKernelTakesLittleForAClientThatReadsNothing",
			"TestAByteAfterTheRequestHidesNoGoneClient",
			"TestStreamsLimitTheirConnectionAndNothingAfterThem",
			"TestBodiesOfAUsualSizeHaveRoomForSoMany",
			"TestARefusalDoesNotWaitForTheMessage",
			"TestTheConnectionOfAClientThatHangsUpKeepsItsLimits",
			"TestLeanStreamsInAnyOrder",
			"TestTwoHundredClientsThatStallHoldUpNobody",
			"TestWhatIsWrittenAfterAStreamsEndReachesNobody",
			"internal/outlet.TestACrowdHoldsUpNobodyElse",
		},
	}, {
		Title: "A publish tells what became of it",
		Text: "It answers 2xx only after Redis took the message, 503 only if Redis certainly did not, and 504 with `\"outcome\":\"unknown\"` " +
			"when nobody can know.",
		Tests: []string{
			"TestVerdicts",
			"TestPublishingWhileRedisIsDown",
			"TestPublishingToAFrozenRedisIsUnknownAndHappensOnceAtMost",
			"TestANewConnectionToAFrozenRedisCarriesNoMessage",
			"TestAConnectionThatDoesNotAnswerAPingCarriesNoMessage",
			"TestALostAnswerIsUnknownAndIsNotRepeated",
			"TestPublishingWhileRedisLoadsItsData",
			"TestALoadingReplyIsFollowedByAnotherAttempt",
			"TestPublishingToARedisThatIsOutOfClients",
			"TestPublishingAfterThePasswordWasRotated",
			"TestPublishingToAReplicaReachesItsOwnSubscribers",
			"TestAFullRedisPublishes",
			"TestAChannelThatTheACLForbidsIsDeniedAndOpensNoBreaker",
			"TestARequestThatEndsBetweenAttemptsIsNotFailedByRedis",
			"TestARequestThatEndsEarlyCountsForNothing",
			"TestHalfABodyIsNotPublished",
			"TestABodyIsPublishedByteForByte",
			"TestTheBreakerOpensAtTheFifthFailureAndClosesOnceRedisIsBack",
			"TestAnOpenBreakerHasNothingDone",
			"TestTheBreakerLetsOneAttemptThroughAfterItsTime",
			"TestTheBreakerIsHalfOpenAsSoonAsRedisIsProved",
			"TestAReloadWaitsForNoMessageAndLosesNone",
			"TestEachCallHasADeadline",
			"TestCallsSurviveTheReplacementOfTheirClient",
			"TestPublishingWhileClientsAreReplaced",
			"TestAReconnectionRenewsThePublisher",
			"TestScenarioBreakerOpensRejectsHalfOpensCloses",
			"TestAConnectionThatHasGoneWhileIdleCarriesNoMessage",
			"TestPayloadsThatRedisDoesNotTakeDoNotOpenTheBreaker",
			"TestLargePayloadsDoNotTakeAllConnections",
			"TestAllConnectionsAreForgottenWhileIdle",
		},
	}, {
		Title: "Few Redis connections",
		Text:  "One for subscriptions and at most 4 for commands, for each hub, whatever the number of clients and channels.",
		Tests: []string{
			"TestOneConnectionServesAllStreams",
			"TestAKeptPatternStaysTheOnlySubscriptionOverAnOutage",
			"TestMoreThanTheConnectionsCanDoIsRefused",
			"TestPresenceTakesNoConnectionOfItsOwn",
		},
	}, {
		Title: "Clients choose nothing",
		Text: "Nothing that a client sends chooses a channel, a pattern or a Redis command unless the Caddyfile says so, nor a starting point " +
			"beyond a cursor in the form of an event id, which reaches at most what is buffered.",
		Tests: []string{
			"TestRequestChannels",
			"TestRequestCursor",
			"internal/hub.TestParseCursorIsStrict",
			"TestRequestStart",
			"TestRequestStartRefused",
			"TestGlobCharactersInAChannelAreLiteral",
			"TestTheChannelOfAMessage",
			"TestBrowsersOfOtherSitesCannotPublish",
			"internal/hub.TestReservedChannelsAreNotDelivered",
			"TestOurOwnMessagesAreNeverBuffered",
			"TestMethodsThatOpenNoStream",
			"TestClientsAddNoSeries",
			"TestRequestChannelsThatCannotBeToldAreRefused",
			"TestAPublishGoesToNoOtherChannelThanTheOneNamed",
			"TestAKeyThatCannotBeIsAnErrorThatNamesIt",
			"TestAnIDOfAnEndIsReadStrictly",
		},
	}, {
		Title: "A refusal stops no EventSource",
		Text: "Any status but 200 stops an `EventSource` for ever, so one that may pass is never told by a status: the client is sent away " +
			"with a stream that ends, and comes back.",
		Tests: []string{
			"TestAnEventSourceIsRefusedWithAStreamThatEnds",
			"TestOtherClientsAreRefusedWithAStatus",
			"TestRefusedClientsDoNotComeBackTogether",
			"TestARefusedRequestHoldsNothing",
			"TestAStreamBeyondTheChannelsIsRefused",
			"TestStreamsBeyondMaxStreamsAreRefusedUntilOneHasEnded",
			"TestStreamsBeyondMaxStreamsPerAreRefused",
			"TestServeWithoutRedis",
			"TestARequestInADrainingHandlerIsServedAndThenEnded",
			"TestARequestHalfReadAtAReloadGetsNoErrorStatus",
			"TestRequestsThatWaitForRedisEndProperlyWithinTheGracePeriod",
			"internal/browsertest.TestAnyOtherStatusStopsAnEventSource",
			"internal/browsertest.TestRefusedStreamComesBackByItself",
			"internal/browsertest.TestRefusedStreamComesBackToAnotherConfiguration",
			"internal/browsertest.TestDrainedStreamIsNotRefused",
		},
	},
}

// tags are the build tags of tests, by directory.
var tags = map[string]string{"internal/browsertest": "browser"}

// Split takes a test of [All] apart. The directory is "." for the root package.
func Split(test string) (dir, name string) {
	if i := strings.LastIndexByte(test, '.'); i >= 0 {
		return test[:i], test[i+1:]
	}
	return ".", test
}

// Join is the opposite of [Split].
func Join(dir, name string) string {
	if dir == "." {
		return name
	}
	return dir + "." + name
}

// Tag is the build tag that the tests of a directory need, if any.
func Tag(dir string) string { return tags[dir] }
