using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>Feature bits by name, those of a kind of device too.</summary>
internal static class DeviceFeatureNames
{
    public static Func<int, string> Of(string device) => device switch
    {
        "blk" => FeatureNames.OfBlockBit,
        "net" => FeatureNames.OfNetBit,
        "console" => FeatureNames.OfConsoleBit,
        _ => FeatureNames.OfVirtioBit,
    };
}
