using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>Which back-ends know a message, by the table of contracts.</summary>
internal static class MessageNeeds
{
    /// <summary>The messages of front-ends that families of cases are made from, with the word that their ids carry. A GPU's socket belongs to a device of its own.</summary>
    public static IEnumerable<(VhostUserRequest Request, string Word, MessageContract Contract)> All =>
        from contract in MessageContracts.All
        where contract.Channel == VhostUserChannel.Main && contract.Code != (uint)VhostUserRequest.GpuSetSocket
        let word = contract.Name["VHOST_USER_".Length..].ToLowerInvariant().Replace('_', '-')
        select ((VhostUserRequest)contract.Code, word, contract);

    /// <summary>What a back-end must offer to know a message.</summary>
    public static CaseNeeds Of(MessageContract contract) => new()
    {
        Features = contract.RequiredFeatures | contract.RequiredOfferedFeatures,
        Protocol = contract.RequiredProtocolFeatures | contract.RequiredOfferedProtocolFeatures,
    };

    /// <summary>Whether a message belongs to a feature at all, so that there are back-ends which need not know it.</summary>
    public static bool HasGate(MessageContract contract) =>
        contract.RequiredProtocolFeatures != 0 || contract.RequiredFeatures != 0;
}
