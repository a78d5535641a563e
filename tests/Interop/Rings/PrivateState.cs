using System.Globalization;
using System.Reflection;
using System.Text;
using Vhost.Protocol;

namespace Vhost.Interop.Tests;

/// <summary>Writes out the private fields of a ring's half, so that two states that look alike from outside are not taken for the same.</summary>
internal static class PrivateState
{
    private static readonly HashSet<Type> _irrelevant = [typeof(GuestMemory), typeof(GuestMemoryLease), typeof(EventNotifier), typeof(RegionWindow)];
    private static readonly HashSet<string> _counters = ["Calls", "SuppressedCalls", "Batches", "_segments", "_chains", "_counters"];

    public static void Append(StringBuilder text, object? value)
    {
        switch (value)
        {
            case null:
                text.Append('-');
                break;
            case Array array:
                foreach (object? item in array)
                {
                    Append(text, item);
                }

                break;
            case not null when value.GetType().IsPrimitive || value.GetType().IsEnum:
                text.Append(Convert.ToString(value, CultureInfo.InvariantCulture)).Append(' ');
                break;
            default:
                AppendFields(text, value);
                break;
        }
    }

    private static void AppendFields(StringBuilder text, object value)
    {
        Type type = value.GetType();
        if (_irrelevant.Contains(type) || type.Namespace?.StartsWith("Vhost.", StringComparison.Ordinal) != true)
        {
            return;
        }

        foreach (FieldInfo field in type.GetFields(BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic))
        {
            if (!field.FieldType.IsPointer && !_counters.Any(name => field.Name.Contains(name, StringComparison.Ordinal)))
            {
                Append(text, field.GetValue(value));
            }
        }
    }
}
