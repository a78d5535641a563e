namespace Vhost.Conformance.Tests;

/// <summary>Each member is one deliberate departure of <see cref="HandFrontend"/>; its text is the rule that is broken. A hundred numbers to a chapter, in the order of <see cref="FrontendMutants.Chapters"/>.</summary>
public enum FrontendSin
{
    /// <summary>No rule is broken.</summary>
    None,

    /// <summary>Each header has version 1.</summary>
    OtherVersion = 100,

    /// <summary>A request has no REPLY flag.</summary>
    ReplyFlagInRequest,

    /// <summary>Reserved flags of a header are zero.</summary>
    ReservedFlag,

    /// <summary>Only messages are said that the specification has.</summary>
    SaysUnknownMessage,

    /// <summary>SET_OWNER has no payload.</summary>
    OwnerWithPayload,

    /// <summary>GET_FEATURES has no payload.</summary>
    QuestionWithPayload,

    /// <summary>SET_VRING_NUM has eight bytes.</summary>
    SizeTooLong,

    /// <summary>No descriptor comes with SET_FEATURES.</summary>
    FeaturesWithDescriptor,

    /// <summary>A descriptor comes with each region of the memory table.</summary>
    TableWithoutDescriptor,

    /// <summary>GET_QUEUE_NUM needs MQ negotiated.</summary>
    AsksForQueuesFirst,

    /// <summary>NEED_REPLY needs REPLY_ACK negotiated.</summary>
    WantsReplyTooSoon,

    /// <summary>GET_FEATURES comes before SET_FEATURES.</summary>
    NeverAsksForFeatures,

    /// <summary>Features are acknowledged before rings are started.</summary>
    AcknowledgesFeaturesLast,

    /// <summary>SET_FEATURES is said.</summary>
    NeverAcknowledgesFeatures,

    /// <summary>Features that are acknowledged were offered.</summary>
    AcknowledgesUnofferedFeature,

    /// <summary>Protocol features that are acknowledged were offered.</summary>
    AcknowledgesUnofferedProtocolBit,

    /// <summary>SET_OWNER is said before memory is shared.</summary>
    NeverOwns,

    /// <summary>Memory is shared before a ring is started.</summary>
    KicksBeforeMemory,

    /// <summary>The size of a ring is said before it is started.</summary>
    KicksBeforeSize,

    /// <summary>The addresses of a ring are said before it is started.</summary>
    KicksBeforeAddress,

    /// <summary>The base of a ring is said before it is started.</summary>
    KicksBeforeBase,

    /// <summary>The base of a ring is said.</summary>
    NeverSaysBase,

    /// <summary>With bit 30 negotiated a ring must be enabled.</summary>
    NeverEnables,

    /// <summary>SET_VRING_ENABLE has 0 or 1.</summary>
    EnablesWithTwo,

    /// <summary>The size of a split ring is a power of two.</summary>
    RingSizeOdd,

    /// <summary>The size of a ring is 32768 at most.</summary>
    RingSizeTooLarge,

    /// <summary>The size of a ring is not zero.</summary>
    RingSizeZero,

    /// <summary>Only rings are named that the back-end has.</summary>
    SpeaksOfStrangeRing,

    /// <summary>The descriptor table is aligned to 16.</summary>
    DescriptorTableNotAligned,

    /// <summary>The available ring is aligned to 2.</summary>
    AvailableRingNotAligned,

    /// <summary>The used ring is aligned to 4.</summary>
    UsedRingNotAligned,

    /// <summary>The parts of a ring lie in the shared memory.</summary>
    RingOutsideMemory,

    /// <summary>SET_VRING_ADDR has user addresses.</summary>
    RingInGuestAddresses,

    /// <summary>The used ring is logged only where LOG_ALL is negotiated.</summary>
    LogsWithoutBit,

    /// <summary>A kick descriptor is an eventfd.</summary>
    PipeForKick,

    /// <summary>A call descriptor is an eventfd.</summary>
    PipeForCall,

    /// <summary>Bit 8 of SET_VRING_KICK says that there is no descriptor.</summary>
    SaysNoKickWithDescriptor,

    /// <summary>Bit 8 of SET_VRING_CALL says that there is no descriptor.</summary>
    SaysNoCallWithDescriptor,

    /// <summary>SET_VRING_KICK without bit 8 comes with a descriptor.</summary>
    KickWithoutDescriptor,

    /// <summary>Guest addresses of regions do not overlap.</summary>
    RegionsOverlap,

    /// <summary>User addresses of regions do not overlap.</summary>
    UserAddressesOverlap,

    /// <summary>A region ends in its file.</summary>
    RegionBeyondFile,

    /// <summary>Offset and size of a region do not wrap.</summary>
    RegionWraps,

    /// <summary>A region is not empty.</summary>
    EmptyRegion,

    /// <summary>REM_MEM_REG names a region that is shared.</summary>
    RemovesStrangeRegion,

    /// <summary>A chain of descriptors ends.</summary>
    ChainLoops,

    /// <summary>An available entry is below the size of the ring.</summary>
    HeadBeyondRing,

    /// <summary>The next descriptor is one of the table.</summary>
    NextBeyondTable,

    /// <summary>Buffers lie in the shared memory.</summary>
    BufferOutsideMemory,

    /// <summary>The available index is at most the size of the ring ahead.</summary>
    AvailableIndexJumps,

    /// <summary>What the device reads comes before what it writes.</summary>
    WritableFirst,

    /// <summary>INDIRECT and NEXT do not come together.</summary>
    NextWithIndirect,

    /// <summary>An indirect table is a multiple of 16 bytes.</summary>
    OddTable,

    /// <summary>An indirect table has no indirect table.</summary>
    TableInTable,

    /// <summary>A block request has a status byte for the device to write.</summary>
    NoStatus,

    /// <summary>A block request begins with a header of 16 bytes.</summary>
    ShortHeader,

    /// <summary>A ring is kicked when a request was made available.</summary>
    NeverKicks,

    /// <summary>Configuration space is asked for within its 256 bytes.</summary>
    AsksBeyondConfig,

    /// <summary>GET_CONFIG comes with room for what is asked for.</summary>
    AsksForConfigBriefly,

    /// <summary>The base of a ring is not ahead of what is available.</summary>
    BaseAhead,

    /// <summary>A ring goes on from the base at which it was stopped.</summary>
    RestartsFromZero,

    /// <summary>Protocol features are asked for only where bit 30 is offered.</summary>
    AsksForProtocolWithoutBit = 200,

    /// <summary>GET_QUEUE_NUM is not said to a back-end without MQ.</summary>
    AsksForQueuesWithoutBit,

    /// <summary>GET_MAX_MEM_SLOTS is not said to a back-end without CONFIGURE_MEM_SLOTS.</summary>
    AsksForSlotsWithoutBit,

    /// <summary>GET_CONFIG is not said to a back-end without CONFIG.</summary>
    AsksForConfigWithoutBit,

    /// <summary>SET_VRING_ENABLE is not said where bit 30 is not negotiated.</summary>
    EnablesWithoutBit,

    /// <summary>Feature bits that nobody knows are not acknowledged.</summary>
    AcceptsUnknownFeatures,

    /// <summary>Protocol bits that nobody knows are not acknowledged.</summary>
    AcceptsUnknownProtocolBits,

    /// <summary>Indirect tables need INDIRECT_DESC negotiated.</summary>
    IndirectWithoutBit,

    /// <summary>No more regions are shared than there are slots.</summary>
    IgnoresSlots,

    /// <summary>A back-end may say that it has no queue.</summary>
    DiesOfNoQueues,

    /// <summary>A back-end may say that it has more queues than there are.</summary>
    DiesOfManyQueues,

    /// <summary>A back-end may say that it has no memory slot.</summary>
    DiesOfNoSlots,

    /// <summary>A back-end may say that it has more memory slots than there are.</summary>
    DiesOfManySlots,

    /// <summary>A back-end may offer every feature bit.</summary>
    DiesOfEveryFeature,

    /// <summary>A back-end may offer every protocol bit.</summary>
    DiesOfEveryProtocolBit,

    /// <summary>A message may be refused.</summary>
    DiesOfRefusal = 300,

    /// <summary>No ring is started in memory that was refused.</summary>
    IgnoresRefusedMemory,

    /// <summary>No ring is started with features that were refused.</summary>
    IgnoresRefusedFeatures,

    /// <summary>No ring is started of which size or addresses were refused.</summary>
    IgnoresRefusedRing,

    /// <summary>A reply has the code of what it replies to.</summary>
    AcceptsOtherReply = 400,

    /// <summary>A reply has the REPLY flag.</summary>
    AcceptsReplyWithoutFlag,

    /// <summary>A reply has version 1.</summary>
    AcceptsReplyOfOtherVersion,

    /// <summary>A reply without payload is no reply to a question.</summary>
    AcceptsEmptyReply,

    /// <summary>A reply of seven bytes is no number.</summary>
    AcceptsShortReply,

    /// <summary>A reply may be empty.</summary>
    DiesOfEmptyReply,

    /// <summary>A reply may announce more than it has.</summary>
    DiesOfHugeReply,

    /// <summary>A descriptor may come with a reply that has none.</summary>
    DiesOfReplyDescriptor,

    /// <summary>A reply may take its time.</summary>
    GivesUpTooSoon,

    /// <summary>After a late reply the front-end goes on.</summary>
    HangsAfterLateReply,

    /// <summary>A reply may come in pieces.</summary>
    CannotPutPiecesTogether,

    /// <summary>A GET_CONFIG reply may be short.</summary>
    DiesOfShortConfig,

    /// <summary>A GET_CONFIG reply may have no contents.</summary>
    DiesOfEmptyConfig,

    /// <summary>A GET_CONFIG reply may be long.</summary>
    DiesOfLongConfig,

    /// <summary>A GET_CONFIG reply may have another offset.</summary>
    DiesOfConfigElsewhere,

    /// <summary>A GET_CONFIG reply without payload is an error.</summary>
    AcceptsRefusedConfig,

    /// <summary>A GET_VRING_BASE reply may be anything.</summary>
    DiesOfStrangeBase,

    /// <summary>A GET_VRING_BASE reply may be of another ring.</summary>
    DiesOfBaseOfOtherRing,

    /// <summary>An in-flight area may be larger than its file.</summary>
    DiesOfAreaBeyondFile = 500,

    /// <summary>An in-flight area may be empty.</summary>
    DiesOfEmptyArea,

    /// <summary>An in-flight area may come without a descriptor.</summary>
    DiesOfMissingArea,

    /// <summary>A request of the back-end may be unknown.</summary>
    DiesOfUnknownRequest = 600,

    /// <summary>A request that is not known is refused where an answer is wanted.</summary>
    GrantsUnknownRequest,

    /// <summary>A request of the back-end may be of another version.</summary>
    DiesOfOtherVersionRequest,

    /// <summary>A reply may come that nobody waits for.</summary>
    DiesOfUnwantedReply,

    /// <summary>A request may announce more than it has.</summary>
    DiesOfHugeRequest,

    /// <summary>What comes on the channel may be no message.</summary>
    DiesOfBrokenChannel,

    /// <summary>What comes on the channel may have no code that was ever meant.</summary>
    DiesOfJunk,

    /// <summary>The channel may end within a request.</summary>
    DiesOfHalfRequest,

    /// <summary>The configuration may change all the time.</summary>
    DiesOfStorm,

    /// <summary>A place for notifications may come unasked.</summary>
    DiesOfHostNotifier,

    /// <summary>A back-end may close its channel and serve on.</summary>
    DiesOfChannelEnd,

    /// <summary>A back-end may be lost before it has said anything.</summary>
    DiesOfLossAtFirst = 700,

    /// <summary>A back-end may be lost while it is set up.</summary>
    DiesOfLossOnTheWayUp,

    /// <summary>A back-end may be lost while its rings run.</summary>
    DiesOfLossWhileRunning,

    /// <summary>A back-end may be lost with the first request that it took.</summary>
    DiesWithItsFirstRequest,

    /// <summary>A back-end may be lost within a reply.</summary>
    DiesOfLossInsideReply,

    /// <summary>A back-end may fall silent.</summary>
    DiesOfSilence,

    /// <summary>A used id may be as large as the ring.</summary>
    DiesOfUsedIdBeyond = 800,

    /// <summary>A used id may be 2^32-1.</summary>
    DiesOfUsedIdHuge,

    /// <summary>A used id may be one that is not in flight.</summary>
    DiesOfForeignUsedId,

    /// <summary>A chain may be used twice.</summary>
    DiesOfUsedTwice,

    /// <summary>A used length may be more than there is room for.</summary>
    DiesOfUsedLength,

    /// <summary>The used index may jump.</summary>
    DiesOfIndexJump,

    /// <summary>The used index may go back.</summary>
    DiesOfIndexBack,

    /// <summary>A wish for kicks may make no sense.</summary>
    DiesOfStrangeWish,

    /// <summary>What the driver wrote into the descriptor table is not read from there again.</summary>
    ReadsDescriptorsAgain,

    /// <summary>Lengths in the descriptor table may have been cleared.</summary>
    ReadsDescriptorLengthsAgain,

    /// <summary>What the driver made available is not read from the ring again.</summary>
    ReadsHeadsAgain,

    /// <summary>A call descriptor may be signalled when there is nothing.</summary>
    DiesOfCallsForNothing,

    /// <summary>RING_PACKED, once acknowledged, is the format of the rings.</summary>
    StaysWithSplitRing,

    /// <summary>A used buffer id may be as large as the packed ring.</summary>
    DiesOfPackedIdBeyond,

    /// <summary>A used buffer id may be one that is not in flight.</summary>
    DiesOfPackedForeignId,

    /// <summary>A buffer of a packed ring may be used twice.</summary>
    DiesOfPackedTwice,

    /// <summary>A used length in a packed ring may be more than there is room for.</summary>
    DiesOfPackedLength,

    /// <summary>A descriptor may be said to be used without a buffer id.</summary>
    DiesOfFlagsAlone,

    /// <summary>A used descriptor may be of the other turn.</summary>
    DiesOfOtherTurn,

    /// <summary>A used descriptor may lie behind its place.</summary>
    DiesOfUsedBehind,

    /// <summary>What the driver wrote into a packed ring is not read from there again.</summary>
    ReadsPackedAddressAgain,
}
