namespace Vhost.Conformance.Tests.Mutants;

/// <summary>Each member is one deliberate departure of <see cref="HandBackend"/>; its text is the rule that is broken. A hundred numbers to a chapter, in the order of <see cref="Mutants.Chapters"/>.</summary>
public enum Sin
{
    /// <summary>No rule is broken.</summary>
    None,

    /// <summary>GET_FEATURES answers the same each time it is asked.</summary>
    FeaturesChangeBetweenAsks = 100,

    /// <summary>What SET_FEATURES acknowledges is in force.</summary>
    ForgetsFeatures,

    /// <summary>EVENT_IDX, once acknowledged, is how both sides suppress notifications.</summary>
    DropsEventIndex,

    /// <summary>RING_PACKED, once acknowledged, is the format of the rings.</summary>
    DropsPackedBit,

    /// <summary>Protocol features are offered only together with bit 30 of the features.</summary>
    ProtocolFeaturesWithoutBit,

    /// <summary>SET_FEATURES with a bit that was not offered is refused.</summary>
    AcceptsUnofferedFeature,

    /// <summary>A refused SET_FEATURES changes nothing.</summary>
    AppliesRefusedFeatures,

    /// <summary>SET_PROTOCOL_FEATURES needs no GET_PROTOCOL_FEATURES before it.</summary>
    WantsProtocolFeaturesAsked,

    /// <summary>Features may be negotiated before SET_OWNER.</summary>
    WantsOwnerFirst,

    /// <summary>A device of today offers VERSION_1.</summary>
    OffersNoVersion1,

    /// <summary>GET_QUEUE_NUM answers the number of queues.</summary>
    CountsPairsOfQueues,

    /// <summary>A new connection begins without anything negotiated.</summary>
    CarriesStateToNextPeer,

    /// <summary>A reply has version 1 in its flags.</summary>
    ReplyWithoutVersion = 200,

    /// <summary>A reply has the REPLY flag.</summary>
    ReplyWithoutReplyFlag,

    /// <summary>A reply does not have the NEED_REPLY flag.</summary>
    ReplyKeepsNeedReply,

    /// <summary>Reserved flags of a reply are zero.</summary>
    ReplyWithReservedFlag,

    /// <summary>A reply has the code of its request.</summary>
    ReplyNamesOtherRequest,

    /// <summary>A reply is as long as its layout, not shorter.</summary>
    ReplyTooShort,

    /// <summary>A reply is as long as its layout, not longer.</summary>
    ReplyTooLong,

    /// <summary>SET_OWNER is not answered unless an acknowledgement is wanted.</summary>
    RepliesToSetOwner,

    /// <summary>A message may come in several pieces.</summary>
    MishandlesMessageInPieces,

    /// <summary>Messages that are sent without a wait are carried out one after the other.</summary>
    LosesPipelinedMessage,

    /// <summary>A payload of another size than the layout's is refused.</summary>
    AcceptsWrongPayloadSize,

    /// <summary>A message that belongs to a feature does no harm to a back-end that does not offer it.</summary>
    UnofferedMessageWedges,

    /// <summary>SET_MEM_TABLE with fewer descriptors than regions is refused.</summary>
    AcceptsRegionWithoutDescriptor = 300,

    /// <summary>SET_MEM_TABLE with more descriptors than regions is refused.</summary>
    AcceptsSurplusRegionDescriptor,

    /// <summary>Descriptors of SET_MEM_TABLE are in the order of its regions.</summary>
    SwapsDescriptors,

    /// <summary>SET_VRING_CALL with bit 8 ends the calls.</summary>
    CallsDespiteNoDescriptor,

    /// <summary>SET_VRING_KICK with bit 8 starts a ring that is polled.</summary>
    RefusesPolling,

    /// <summary>A ring that was started with bit 8 is polled.</summary>
    NeverPolls,

    /// <summary>Descriptors of a refused message are closed.</summary>
    LeaksRefusedDescriptors,

    /// <summary>A call descriptor that is replaced is closed.</summary>
    NeverClosesCall,

    /// <summary>A table of more than eight regions is refused.</summary>
    AcceptsNineRegions = 400,

    /// <summary>The number of regions agrees with the size of the table.</summary>
    IgnoresRegionCount,

    /// <summary>A region that its file does not cover is refused.</summary>
    AcceptsRegionBeyondFile,

    /// <summary>Regions that overlap are refused.</summary>
    AcceptsOverlap,

    /// <summary>A refused table leaves the old one in force.</summary>
    DropsTableOnRefusal,

    /// <summary>SET_MEM_TABLE replaces the whole table.</summary>
    KeepsOldTable,

    /// <summary>A region begins at its mmap offset in the file.</summary>
    IgnoresMmapOffset,

    /// <summary>All regions of a table are used.</summary>
    ForgetsSecondRegion,

    /// <summary>Ring addresses are user addresses, translated by the table.</summary>
    TakesUserAddressForGuestAddress,

    /// <summary>A buffer may lie across two regions that touch.</summary>
    RefusesBufferInTwoRegions,

    /// <summary>GET_MAX_MEM_SLOTS answers how many regions fit.</summary>
    OffersNoSlots,

    /// <summary>ADD_MEM_REG beyond the slots is refused.</summary>
    ExceedsSlots,

    /// <summary>A region that ADD_MEM_REG added is used.</summary>
    ForgetsAddedRegion,

    /// <summary>A region that REM_MEM_REG removed is not used.</summary>
    ForgetsRemoval,

    /// <summary>REM_MEM_REG of a region that is not there is refused.</summary>
    AcknowledgesUnknownRemoval,

    /// <summary>REM_MEM_REG names guest address, size and user address of the region.</summary>
    RemovesByGuestAddressAlone,

    /// <summary>A disabled ring processes nothing.</summary>
    ServesDisabledRing = 500,

    /// <summary>An enabled ring is looked at once without waiting for a kick.</summary>
    LooksOnEnableOnlyIfKicked,

    /// <summary>A kick before the ring is enabled is not lost.</summary>
    LosesKickBeforeEnable,

    /// <summary>A started ring is looked at once without waiting for a kick.</summary>
    NeedsKickAfterStart,

    /// <summary>Without PROTOCOL_FEATURES rings begin enabled.</summary>
    BeginsDisabledWithoutProtocolFeatures,

    /// <summary>With PROTOCOL_FEATURES rings begin disabled.</summary>
    BeginsEnabled,

    /// <summary>SET_VRING_ENABLE with 0 disables the ring.</summary>
    IgnoresDisable,

    /// <summary>SET_VRING_ENABLE is about one ring.</summary>
    EnablesAllRings,

    /// <summary>A ring is started by its kick, not by being enabled.</summary>
    StartsWhenEnabled,

    /// <summary>Every queue is served.</summary>
    ServesFirstQueueOnly,

    /// <summary>GET_VRING_BASE answers where the ring goes on.</summary>
    BaseIsZero,

    /// <summary>GET_VRING_BASE answers the next available index, not the last one.</summary>
    BaseIsOneBehind,

    /// <summary>GET_VRING_BASE answers the index of the ring that was asked for.</summary>
    AnswersOtherRing,

    /// <summary>GET_VRING_BASE of a ring that does not exist is not answered as if it did.</summary>
    AnswersBaseOfRingBeyondLast,

    /// <summary>GET_VRING_BASE of a ring that never started answers its base.</summary>
    WantsRingStartedForBase,

    /// <summary>GET_VRING_BASE stops the ring.</summary>
    StopDoesNotStop,

    /// <summary>GET_VRING_BASE answers after all requests taken were completed.</summary>
    StopDoesNotWait,

    /// <summary>GET_VRING_BASE stops one ring alone.</summary>
    StopStopsAll,

    /// <summary>A ring begins at what SET_VRING_BASE said.</summary>
    IgnoresBase,

    /// <summary>A ring that is started again goes on at its base.</summary>
    RestartsAtZero,

    /// <summary>A ring has as many entries as SET_VRING_NUM said.</summary>
    IgnoresRingSize,

    /// <summary>A ring of no entries is refused.</summary>
    AcceptsSizeZero,

    /// <summary>SET_VRING_NUM of a ring that does not exist is refused.</summary>
    AcceptsRingBeyondLast,

    /// <summary>The index of a ring is judged with all of its 32 bits.</summary>
    CutsIndexTo16Bits,

    /// <summary>A kick descriptor that replaces another is listened to.</summary>
    KeepsOldKick,

    /// <summary>A used element has the head of its chain.</summary>
    UsedIdWrong = 600,

    /// <summary>The used length is what was written, not more.</summary>
    UsedLengthTooLong,

    /// <summary>The used length is what was written, not nothing.</summary>
    UsedLengthZero,

    /// <summary>A used element lies at the used index modulo the size of the ring.</summary>
    UsedSlotNotReduced,

    /// <summary>The used index grows by one for each element.</summary>
    UsedIndexByTwo,

    /// <summary>The used index goes on where the used ring has it.</summary>
    UsedIndexFromZero,

    /// <summary>A chain may have more than three descriptors.</summary>
    CutsLongChain,

    /// <summary>A chain goes on at the next field.</summary>
    IgnoresNext,

    /// <summary>An indirect descriptor leads to a table.</summary>
    IgnoresIndirect,

    /// <summary>An indirect table is linked by its next fields.</summary>
    ReadsTableInOrder,

    /// <summary>An indirect descriptor may end a chain of direct ones.</summary>
    RefusesTableBehindDescriptors,

    /// <summary>A ring may have as few as two entries.</summary>
    SmallestRingDead,

    /// <summary>The available index goes on from 65535 to 0.</summary>
    IndexWrapFails,

    /// <summary>A buffer that the device may only read is not written.</summary>
    WritesToReadableBuffer,

    /// <summary>One kick may be for many requests.</summary>
    ServesOneRequestPerKick,

    /// <summary>The wrap counter of available descriptors flips at the end of the ring.</summary>
    NextWrapNotFlipped = 700,

    /// <summary>The wrap counter of used descriptors flips at the end of the ring.</summary>
    UsedWrapNotFlipped,

    /// <summary>A used descriptor has the identifier of its buffer.</summary>
    PackedUsedIdWrong,

    /// <summary>A used descriptor says how much was written.</summary>
    PackedUsedLengthZero,

    /// <summary>The identifier of a buffer is in the last descriptor of its chain.</summary>
    TakesIdOfFirst,

    /// <summary>The next chain begins behind all descriptors of this one.</summary>
    SkipsOneSlotPerChain,

    /// <summary>The next used descriptor is written behind all slots of the chain before.</summary>
    UsesOneSlotPerChain,

    /// <summary>A used descriptor has AVAIL and USED equal to the wrap counter.</summary>
    UsedFlagsWrong,

    /// <summary>The size of a packed ring need not be a power of two.</summary>
    RefusesOddPackedSize,

    /// <summary>Bit 15 of the base is the wrap counter.</summary>
    IgnoresWrapOfBase,

    /// <summary>The upper half of a packed ring's base is the used index and its wrap counter.</summary>
    AnswersNoUsedHalf,

    /// <summary>A packed ring has indirect descriptors too.</summary>
    PackedIndirectFails,

    /// <summary>A chain may go on from the last slot to the first.</summary>
    ChainAcrossEndFails,

    /// <summary>A driver that wants to be told of used buffers is told.</summary>
    NeverCalls = 800,

    /// <summary>NO_INTERRUPT in the available ring ends the calls.</summary>
    CallsDespiteNoInterrupt,

    /// <summary>With EVENT_IDX the driver is told when the used index passes used_event.</summary>
    IgnoresUsedEvent,

    /// <summary>used_event names the very element that is told of.</summary>
    UsedEventOffByOne,

    /// <summary>avail_event follows the index that the device waits for.</summary>
    AvailEventStuck,

    /// <summary>A device that waits for kicks does not set NO_NOTIFY.</summary>
    AsksForNoKicks,

    /// <summary>A call descriptor that replaces another while the ring runs is signalled.</summary>
    KeepsOldCall,

    /// <summary>A kick without requests makes no call.</summary>
    CallsWithoutWork,

    /// <summary>Flag DISABLE in the driver area ends the calls.</summary>
    PackedCallsDespiteDisable,

    /// <summary>Flag DESC in the driver area names the descriptor that is told of.</summary>
    PackedIgnoresEvent,

    /// <summary>A device that waits for kicks does not set DISABLE in its area.</summary>
    PackedAsksForNoKicks,

    /// <summary>The device area follows the descriptor that the device waits for.</summary>
    DeviceAreaStuck,

    /// <summary>A ring that breaks signals its error descriptor.</summary>
    TellsNoError,

    /// <summary>GET_CONFIG reads from the offset that was asked for.</summary>
    IgnoresConfigOffset = 900,

    /// <summary>GET_CONFIG answers as many bytes as were asked for.</summary>
    IgnoresConfigSize,

    /// <summary>GET_CONFIG answers the fields of the device.</summary>
    ConfigAllZero,

    /// <summary>The capacity of a disk is counted in sectors of 512 bytes.</summary>
    CapacityInBytes,

    /// <summary>GET_CONFIG beyond the end of configuration space is refused.</summary>
    ReadsConfigBeyondEnd,

    /// <summary>SET_CONFIG beyond the end of configuration space is refused.</summary>
    WritesConfigBeyondEnd,

    /// <summary>The configuration space holds the fields of all features that are offered.</summary>
    ConfigTooSmall,

    /// <summary>SET_CONFIG of a field that drivers may not write is refused.</summary>
    AcceptsReadOnlyField,

    /// <summary>What SET_CONFIG wrote is read back.</summary>
    ForgetsConfig,

    /// <summary>GET_STATUS answers what SET_STATUS said.</summary>
    ForgetsStatus = 1000,

    /// <summary>SET_STATUS replaces the status.</summary>
    AddsStatusBits,

    /// <summary>SET_STATUS with 0 resets the device: no ring runs afterwards.</summary>
    StatusZeroDoesNotReset,

    /// <summary>FEATURES_OK is not kept when the features were refused.</summary>
    KeepsFeaturesOk,

    /// <summary>RESET_DEVICE stops and disables all rings.</summary>
    ForgetsReset,

    /// <summary>RESET_DEVICE sets the status to 0.</summary>
    StatusSurvivesReset,

    /// <summary>RESET_OWNER does not end the connection.</summary>
    ResetOwnerEndsSession,

    /// <summary>A device with a broken ring has NEEDS_RESET in its status.</summary>
    HidesFailure,

    /// <summary>A message with NEED_REPLY is acknowledged once REPLY_ACK is negotiated.</summary>
    NeverAcknowledges = 1100,

    /// <summary>A message that was carried out is acknowledged too.</summary>
    AcknowledgesRefusalsOnly,

    /// <summary>A refused message is acknowledged with another value than 0.</summary>
    AcknowledgesFailureAsSuccess,

    /// <summary>A message that was carried out is acknowledged with 0.</summary>
    AcknowledgesSuccessAsFailure,

    /// <summary>A message without NEED_REPLY is not acknowledged.</summary>
    AcknowledgesUnasked,

    /// <summary>Nothing is acknowledged before REPLY_ACK is negotiated.</summary>
    AcknowledgesWithoutFeature,

    /// <summary>A message that has a reply of its own has no acknowledgement beside it.</summary>
    AcknowledgesReplyToo,

    /// <summary>A message is acknowledged when it was carried out, not before.</summary>
    AcknowledgesBeforeWork,

    /// <summary>SET_BACKEND_REQ_FD carries a descriptor.</summary>
    AcceptsChannelWithoutDescriptor = 1200,

    /// <summary>A channel that is replaced is closed.</summary>
    KeepsOldChannel,

    /// <summary>While no ring runs the back-end sends no request.</summary>
    ChannelSpeaksWhileSuspended,

    /// <summary>Requests of the back-end have version 1 in their flags.</summary>
    ChannelOmitsVersion,

    /// <summary>The session outlives its back-end channel.</summary>
    LostChannelEndsSession,

    /// <summary>Pages that were written are marked.</summary>
    MarksNothing = 1300,

    /// <summary>The page of an address is its number divided by 4096.</summary>
    MarksPageBehind,

    /// <summary>All pages of a buffer that was written are marked.</summary>
    MarksFirstPageOnly,

    /// <summary>Writes of a few bytes are marked too.</summary>
    MarksNoShortWrite,

    /// <summary>Writes to the used ring are marked where the front-end asked for it.</summary>
    MarksNoUsedRing,

    /// <summary>Nothing is marked unless LOG_ALL is acknowledged.</summary>
    MarksWithoutLogAll,

    /// <summary>SET_LOG_BASE with LOG_SHMFD carries a descriptor.</summary>
    AcceptsLogWithoutDescriptor,

    /// <summary>The log begins at its mmap offset in the file.</summary>
    IgnoresLogOffset,

    /// <summary>SET_LOG_BASE replaces the log.</summary>
    KeepsOldLog,

    /// <summary>SET_LOG_BASE with LOG_SHMFD is answered.</summary>
    SetLogBaseUnanswered,

    /// <summary>The area has room for all entries of its queues.</summary>
    AreaSizeWrong = 1400,

    /// <summary>GET_INFLIGHT_FD answers with the descriptor of the area.</summary>
    AreaWithoutDescriptor,

    /// <summary>A new area is all zero.</summary>
    AreaNotCleared,

    /// <summary>An area too small for its queues is refused.</summary>
    AcceptsSmallArea,

    /// <summary>A request that was taken is noted with its place in the order.</summary>
    NotesNoRequest,

    /// <summary>The mark of a completed request is cleared.</summary>
    NeverClearsMark,

    /// <summary>The area keeps the used index of the ring.</summary>
    KeepsNoUsedIndexInArea,

    /// <summary>A queue whose entries are in use has version 1.</summary>
    WritesNoVersion,

    /// <summary>Requests that the area has marked are carried out again.</summary>
    ResubmitsNothing,

    /// <summary>Requests that the used ring shows as completed are not carried out again.</summary>
    ForgetsLastBatch,

    /// <summary>The area of packed rings has room for all their entries.</summary>
    PackedAreaTooSmall,

    /// <summary>A request that was taken from a packed ring is noted.</summary>
    NotesNoPackedRequest,

    /// <summary>The mark of a completed request of a packed ring is cleared.</summary>
    NeverClearsPackedMark,

    /// <summary>The area keeps the used position of a packed ring and its wrap counter.</summary>
    KeepsNoPackedPosition,

    /// <summary>A packed queue whose entries are in use has version 1.</summary>
    WritesNoPackedVersion,

    /// <summary>The descriptors of a request that was taken from a packed ring are copied to the area.</summary>
    CopiesNoDescriptor,

    /// <summary>Requests of a packed ring that the area has marked are carried out again.</summary>
    ResubmitsNoPackedRequest,

    /// <summary>Requests of a packed ring are carried out again from their copies, since the ring may have something else in their place.</summary>
    ReadsRingForNoted,

    /// <summary>Requests that a packed ring shows as used are not carried out again.</summary>
    ForgetsPackedBatch,

    /// <summary>Requests that a packed ring does not show as used are carried out again, whatever the area says.</summary>
    BelievesUnseenBatch,

    /// <summary>A list of free entries that loops harms nobody.</summary>
    FollowsFreeListForEver,

    /// <summary>There is an area for packed rings where these can be negotiated.</summary>
    HasNoPackedArea,

    /// <summary>An address without translation is asked for.</summary>
    NeverAsksForTranslation = 1500,

    /// <summary>A miss names the address that is missing.</summary>
    AsksForWrongTranslation,

    /// <summary>With ACCESS_PLATFORM addresses are translated.</summary>
    TakesIovaForGuestAddress,

    /// <summary>A translation is used for what it permits alone.</summary>
    IgnoresPermission,

    /// <summary>A translation that was invalidated is not used.</summary>
    IgnoresInvalidation,

    /// <summary>A translation to an address that memory does not hold is refused.</summary>
    AcceptsTranslationOutsideMemory,

    /// <summary>IOTLB_MSG with NEED_REPLY is answered.</summary>
    TranslationUnanswered,

    /// <summary>A ring that waited for a translation goes on with it.</summary>
    TranslationWakesNothing,

    /// <summary>The state of a device is not empty if it can be loaded.</summary>
    SavesNothing = 1600,

    /// <summary>The back-end closes the pipe when the state is saved.</summary>
    NeverEndsSave,

    /// <summary>CHECK_DEVICE_STATE without a transfer that went well does not answer 0.</summary>
    ChecksNoState,

    /// <summary>A reply that says that a descriptor comes has one.</summary>
    PromisesDescriptorForState,

    /// <summary>A transfer in an unknown direction is refused.</summary>
    AcceptsUnknownDirection,

    /// <summary>The state is transferred while no ring runs.</summary>
    TransfersWhileRunning,

    /// <summary>A message of an unknown code does not stop the session.</summary>
    UnknownMessageWedges = 1700,

    /// <summary>A ring index that is out of all bounds harms nobody.</summary>
    HugeIndexStopsListening,

    /// <summary>A peer that breaks off within a message harms nobody else.</summary>
    BrokenMessageStopsListening,

    /// <summary>When a front-end has gone, the next one is served.</summary>
    ServesOnePeerOnly,

    /// <summary>A chain that loops ends after as many steps as the ring has entries.</summary>
    FollowsLoopForEver = 1800,

    /// <summary>A packed chain without an end breaks the ring alone.</summary>
    EndlessPackedChainWedges,

    /// <summary>A head beyond the ring breaks it.</summary>
    ReducesHead,

    /// <summary>A ring that breaks leaves messages and other rings alone.</summary>
    BrokenRingWedgesAll,

    /// <summary>A buffer outside memory is not served.</summary>
    ServesUnmappedBuffer,

    /// <summary>What was written is read back.</summary>
    LosesWrites = 1900,

    /// <summary>All sectors of a request are written.</summary>
    WritesFirstSectorOnly,

    /// <summary>A request is about the sector that it names.</summary>
    ReadsNextSector,

    /// <summary>A sector number beyond the disk does not begin again at its start.</summary>
    WrapsSectorNumber,

    /// <summary>A read beyond the capacity fails.</summary>
    ReadsZeroesBeyondEnd,

    /// <summary>A write beyond the capacity fails.</summary>
    DropsWritesBeyondEnd,

    /// <summary>A request of an unknown type is answered with UNSUPP.</summary>
    AcceptsUnknownType,

    /// <summary>FLUSH, once offered, is carried out.</summary>
    RefusesFlush,

    /// <summary>Every request has its status written.</summary>
    WritesNoStatus,

    /// <summary>The status is the last byte of the writable buffers.</summary>
    StatusInFirstByte,

    /// <summary>A request that failed has a status that says so.</summary>
    FailsSilently,

    /// <summary>A disk that offers RO takes no writes.</summary>
    WritesToReadOnlyDisk,

    /// <summary>What was written outlives the connection.</summary>
    ErasesDiskBetweenPeers,
}
